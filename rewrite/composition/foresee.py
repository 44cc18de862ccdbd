"""`conflict`: what edits would do to one another in a plain sum, found before they are summed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from torch import Tensor

import edits
from edits import clash
from edits.materialise import Change as Applied
from edits.materialise import changes, materialise
from rewrite.composition.changes import adds_only, change_of
from rewrite.composition.findings import findings
from rewrite.composition.losses import among, pairwise
from rewrite.composition.meeting import meetings, natural_states, shared_world, shift
from rewrite.composition.members import Member, Pair, members
from rewrite.composition.overlap import cosine, crowd, overlap, sides
from rewrite.composition.promise import Promise, promise_alone
from rewrite.composition.replay import resolve
from rewrite.composition.result import AtLayer, Clash, Conflict, Party, Resolved, Rounding, Touch
from rewrite.composition.verdict import THRESHOLDS, verdict
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.progress import Progress, quiet


def conflict(
    generator: Generator,
    pairs: Iterable[Pair],
    *,
    names: Mapping[str, str] | None = None,
    try_resolve: bool = True,
    progress: Progress = quiet,
) -> Conflict:
    """What these (edit, strength) pairs would do to one another in a plain sum, with a verdict and a remedy.

    `names` by content stand for edits in sentences. Where a rule would lose too much, `resolve` is tried as well, so
    that the remedy can say what it would give; not so without `try_resolve`. EditError for weights that an edit was not
    made for. The module is left as it was.
    """
    found = members(generator, pairs)
    pairs = [(member.edit, member.strength) for member in found]
    for member in found:
        # Judged by itself: its base, and whether it alters anything.
        with edits.applied(generator.module, (member.edit, member.strength)):
            pass
    tensors = edits.identity.state(generator.module)
    base = {name: tensors[name].detach().cpu().clone() for member in found for name in member.edit.touched}
    promises = {
        member.edit.content: promise_alone(generator, member, member.rule, base[member.rule.layer.weight], progress)
        for member in found
        if member.rule is not None
    }
    parties = tuple(_party(member, names or {}) for member in found)
    clashes = tuple(_clashes(found))
    losses = pairwise(generator, found, promises, base, {one.pair for one in clashes}, progress)
    in_sum = tuple(
        None if clashes or member.edit.content not in promises
        else among(generator, promises[member.edit.content], found, base)
        for member in found
    )  # fmt: skip
    touches = tuple(_touches(generator, found, base, progress))
    layers = tuple(_layers(generator, found, promises, base, summed=not clashes))
    rounding = tuple(_rounding(found, base, summed=not clashes))
    resolved, unresolved = None, None
    if try_resolve and any(loss is not None and THRESHOLDS["loss"].level(loss) != "fine" for loss in in_sum):
        try:
            resolved = _resolved(found, resolve(generator, pairs, progress=progress))
        except RewriteError as error:
            unresolved = str(error)
    said = verdict(findings(parties, clashes, touches, losses, in_sum, layers, rounding, resolved), bool(promises))
    return Conflict(parties, clashes, touches, losses, in_sum, layers, rounding, resolved, unresolved, said)


def _party(member: Member, names: Mapping[str, str]) -> Party:
    return Party(
        member.edit.content,
        names.get(member.edit.content, member.name),
        member.strength,
        member.edit.touched,
        member.rule.layer.name if member.rule else None,
    )


def _clashes(found: Sequence[Member]) -> Iterator[Clash]:
    for (i, one), (j, other) in combinations(enumerate(found), 2):
        plan: dict[str, list[Any]] = {}
        for member in (one, other):
            for name, made in changes(member.edit, member.strength).items():
                plan.setdefault(name, []).extend(made)
        try:
            clash.check(plan)
        except edits.EditError as error:
            yield Clash((i, j), str(error))


def _touches(
    generator: Generator, found: Sequence[Member], base: Mapping[str, Tensor], progress: Progress
) -> Iterator[Touch]:
    for layer in generator.layers.values():
        if layer.refuses:
            continue
        adding = [
            (i, change, span)
            for i, member in enumerate(found)
            if layer.weight in member.edit.touched and adds_only(layer, member.edit)
            if (change := change_of(layer, base[layer.weight], [(member.edit, member.strength)]))
            if (span := sides(change)).rank
        ]
        if len(adding) < 2:
            continue
        asked = [member.rule.recipe for member in found if member.rule and member.rule.layer is layer]
        moments = shared_world(generator, layer, asked, progress).moments
        for (i, one, own), (j, other, its) in combinations(adding, 2):
            yield Touch((i, j), layer.name, overlap(own, its), cosine(layer, moments, one, other))


def _layers(
    generator: Generator,
    found: Sequence[Member],
    promises: Mapping[str, Promise],
    base: Mapping[str, Tensor],
    *,
    summed: bool,
) -> Iterator[AtLayer]:
    places = {member.edit.content: i for i, member in enumerate(found)}
    for meeting in meetings(generator, found, base):
        here = [promises[member.edit.content] for member, _ in meeting.rules]
        states, world = natural_states(generator, meeting), shared_world(generator, meeting.layer, meeting.recipes)
        together = change_of(meeting.layer, meeting.base, meeting.parts) if summed else None
        yield AtLayer(
            meeting.layer.name,
            tuple(places[promise.member.edit.content] for promise in here),
            crowd([promise.evidence for promise in here], world.moments.at((0, 0)), meeting.eps),
            tuple(shift(meeting, states, promise.change) for promise in here),
            shift(meeting, states, together) if summed else None,
        )


def _rounding(found: Sequence[Member], base: Mapping[str, Tensor], *, summed: bool) -> Iterator[Rounding]:
    made = [changes(member.edit, member.strength) for member in found]
    for name in sorted(base):
        weights, each = base[name], [one.get(name, []) for one in made]
        for i, plan in enumerate(each):
            if plan:
                yield _rounded(name, weights, plan, i)
        if summed and sum(map(bool, each)) > 1:
            yield _rounded(name, weights, [change for plan in each for change in plan], None)


def _rounded(name: str, base: Tensor, plan: Sequence[Applied], party: int | None) -> Rounding:
    exact, got = materialise(base.double(), plan), materialise(base, plan).double()
    asked = float((exact - base.double()).norm())
    return Rounding(
        name, str(base.dtype).removeprefix("torch."), party, float((got - exact).norm()) / asked if asked else 0.0
    )


def _resolved(found: Sequence[Member], edit: edits.Edit) -> Resolved:
    layers = edit.notes["layers"]
    told = {rule["content"]: rule["loss"] for layer in layers for rule in layer["rules"]}
    losses = tuple(told.get(member.edit.content, 0.0) if member.rule else None for member in found)
    return Resolved(losses, {layer["layer"]: layer["background_shift"] for layer in layers}, edit.notes["said"])
