"""What a rule promises: what it writes, alone, where its recipe pastes. And how much of that is left among others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.background import background
from rewrite.composition.changes import change_of
from rewrite.composition.members import Member, Rule
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.memory import Change, canonical
from rewrite.progress import Progress, quiet
from rewrite.rules.evidence import Evidence, gather
from rewrite.rules.judge import values_after
from rewrite.rules.make import follow


@dataclass(frozen=True)
class Promise:
    """A rule replayed at its layer, with its strength."""

    member: Member
    rule: Rule
    change: Change
    """The rule's own, strength included."""
    evidence: Evidence
    written: Tensor
    """What the change alone adds to the values, gains recomputed (P, out)."""

    @property
    def size(self) -> float:
        """Root of the weighted sum of squares of what is written."""
        return float((self.evidence.weight[:, None] * self.written**2).sum().sqrt())

    def loss(self, written: Tensor) -> float:
        """How far what is written in company (P, out) is from what was promised, relative to that: 0 is all of it kept.

        Above 1 the company has done more harm than the rule's absence would.
        """
        return share(self.evidence, written - self.written, self.written)


def promise_alone(
    generator: Generator, member: Member, rule: Rule, base: Tensor, progress: Progress = quiet
) -> Promise:
    """The promise of an edit as it is, on the module as it is upstream; `base` is its layer's stored weight."""
    weight = canonical(rule.layer, base)
    evidence = witnessed(generator, rule, weight, progress)
    change = change_of(rule.layer, base, [(member.edit, member.strength)])
    assert change is not None
    return _checked(Promise(member, rule, change, evidence, written(rule.layer, weight, evidence, change)))


def promise_anew(generator: Generator, member: Member, rule: Rule, base: Tensor, progress: Progress = quiet) -> Promise:
    """The promise of a recipe followed again, upstream being what it was not when the edit was made."""
    weight = canonical(rule.layer, base)
    try:
        followed = follow(generator, rule.recipe, rule.setting, weight, progress=progress)
    except RewriteError as error:
        raise RewriteError(
            f"with the other edits active upstream, rule {member.name} cannot be solved anew: {error}"
        ) from None
    change = followed.change.scaled(member.strength)
    made = written(rule.layer, weight, followed.evidence, change)
    return _checked(Promise(member, rule, change, followed.evidence, made))


def witnessed(generator: Generator, rule: Rule, weight: Tensor, progress: Progress = quiet) -> Evidence:
    """The rule's keys on the module as it is upstream, with values of a canonical weight."""
    recipe, world = rule.recipe, None
    if recipe.erase is not None:
        world = background(
            generator, rule.layer, samples=recipe.samples, truncation=recipe.truncation, progress=progress
        )
    return gather(generator, rule.layer, recipe, world, progress, weight=weight)


def written(layer: Layer, weight: Tensor, evidence: Evidence, change: Change | None) -> Tensor:
    """What a change adds to the values (P, out), in units of each image's own gain at base."""
    if change is None:
        return torch.zeros_like(evidence.value)
    return values_after(layer, weight, evidence, change) - evidence.value


def residual(evidence: Evidence, made: Tensor) -> float:
    """What is left of the wanted change after `made` (P, out), relative to it, as in an edit's notes."""
    wanted = evidence.target - evidence.value
    return share(evidence, wanted - made, wanted)


def share(evidence: Evidence, part: Tensor, whole: Tensor) -> float:
    """||part|| / ||whole|| over the evidence's positions, weighted as the rule weighs them."""
    mass = evidence.weight[:, None]
    return float(((mass * part**2).sum() / (mass * whole**2).sum()).sqrt())


def _checked(promise: Promise) -> Promise:
    if not promise.size:
        raise RewriteError(
            f"rule {promise.member.name} writes nothing where its recipe pastes; leave it out, or make it again"
        )
    return promise
