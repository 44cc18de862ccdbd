"""Who meets at a layer: its rules, what else is done to it, and what is active upstream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from rewrite.background import Background, background
from rewrite.composition.changes import Part, adds_only, change_of
from rewrite.composition.members import Member, Rule
from rewrite.composition.promise import Promise, promise_alone, promise_anew
from rewrite.generator import Generator, Layer, State
from rewrite.memory import Change, canonical
from rewrite.progress import Progress, quiet
from rewrite.rules import Recipe
from rewrite.rules.judge import elsewhere, own_energy, probe

SAMPLES = 512
"""Images that moments are taken over where no recipe says how many."""


@dataclass(frozen=True)
class Meeting:
    """The members that change one layer."""

    layer: Layer
    base: Tensor
    """The layer's stored weight without any edit."""
    rules: tuple[tuple[Member, Rule], ...]
    fixed: tuple[Member, ...]
    above: bool
    """Whether a member changes what the layer's keys depend on."""

    @property
    def is_alone(self) -> bool:
        """Whether there is nothing to solve: one member, and the base upstream of it."""
        return len(self.rules) + len(self.fixed) == 1 and not self.above

    @cached_property
    def weight(self) -> Tensor:
        """The base, canonical."""
        return canonical(self.layer, self.base)

    @property
    def recipes(self) -> list[Recipe]:
        return [rule.recipe for _, rule in self.rules]

    @property
    def eps(self) -> float:
        return max(recipe.eps for recipe in self.recipes)

    @property
    def parts(self) -> list[Part]:
        """All members with their strengths, sorted by content."""
        every = [member for member, _ in self.rules] + list(self.fixed)
        return [(member.edit, member.strength) for member in sorted(every, key=lambda member: member.edit.content)]

    @property
    def around(self) -> Change | None:
        """What the members without a recipe add: the rules are solved around that."""
        adding = [(one.edit, one.strength) for one in self.fixed if adds_only(self.layer, one.edit)]
        return change_of(self.layer, self.base, adding)

    @property
    def beyond(self) -> tuple[Member, ...]:
        """Members that scale or set: they act on what all adds together made, and are not solved around."""
        return tuple(one for one in self.fixed if not adds_only(self.layer, one.edit))

    def promises(self, generator: Generator, progress: Progress = quiet) -> tuple[Promise, ...]:
        """Every rule's promise on the module as it is; solved anew where members are active upstream."""
        promise = promise_anew if self.above else promise_alone
        return tuple(promise(generator, member, rule, self.base, progress) for member, rule in self.rules)


def meetings(generator: Generator, members: Sequence[Member], base: Mapping[str, Tensor]) -> Iterator[Meeting]:
    """Where members have rules, in layer order; `base` holds the touched tensors without any edit."""
    for layer in generator.layers.values():
        rules = tuple((one, one.rule) for one in members if one.rule is not None and one.rule.layer is layer)
        if rules:
            fixed = tuple(one for one in members if one.rule is None and layer.weight in one.edit.touched)
            above = any(set(one.edit.touched) & set(layer.upstream) for one in members)
            yield Meeting(layer, base[layer.weight], rules, fixed, above)


def shared_world(
    generator: Generator, layer: Layer, recipes: Sequence[Recipe], progress: Progress = quiet
) -> Background:
    """The moments that rules of a layer share: of as many images, and as wide a truncation, as any of them asks for."""
    samples = max((recipe.samples for recipe in recipes), default=SAMPLES)
    return background(generator, layer, samples=samples, truncation=_widest(recipes), progress=progress)


def natural_states(generator: Generator, meeting: Meeting) -> list[State]:
    """Natural images held at the meeting's layer, of the stream that no rule is solved with."""
    return probe(generator, meeting.layer, _widest(meeting.recipes))


@dataclass(frozen=True)
class Shift:
    """What a change does to natural images at its layer."""

    background: float
    """Relative RMS change of the layer's output."""
    drift: float
    """Mean |g1/g0 - 1| of its demodulation gains; 0 where it has none."""


def shift(meeting: Meeting, states: Sequence[State], change: Change | None) -> Shift:
    """The shift that a change of the meeting's layer causes on natural images held there."""
    if change is None:
        return Shift(0.0, 0.0)
    energy, drift = elsewhere(meeting.layer, meeting.weight, states, change)
    return Shift((energy / own_energy(meeting.layer, meeting.weight, states)) ** 0.5, drift)


def _widest(recipes: Sequence[Recipe]) -> float:
    return max((recipe.truncation for recipe in recipes), default=1.0)
