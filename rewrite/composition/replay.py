"""`resolve`: edits put together so that each rule still does what it promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

import edits
from edits.materialise import changes, materialise
from rewrite.background import Background
from rewrite.composition.changes import change_of, side_by_side
from rewrite.composition.joint import ENERGY, Correction, correct
from rewrite.composition.meeting import Meeting, meetings, natural_states, shared_world, shift
from rewrite.composition.members import VERB, Member, Pair, members
from rewrite.composition.promise import Promise, residual, written
from rewrite.generator import Generator
from rewrite.memory import Change, as_operation
from rewrite.progress import Progress, quiet
from rewrite.rules.solve import truncate


def resolve(generator: Generator, pairs: Iterable[Pair], *, progress: Progress = quiet) -> edits.Edit:
    """One edit of these (edit, strength) pairs in which each rule still writes what it would write alone.

    It is composed of the members at their strengths and of at most one correction a layer, solved for all rules of
    that layer together; so it saves, loads and stacks like any other. Layers are taken in order, and a rule below
    members that are active upstream is first solved anew from its recipe. Edits without a recipe that can be replayed
    stay as they are, and the rules are solved around what they add. The order of the pairs never matters and strength 0
    is absence. A resolved edit counts as its members: resolving it makes it again, and resolving all but one of its
    members gives what those alone give. A rule that meets no other edit keeps its bits.

    Members, strengths and figures are in the edit's recipe and notes. Raises EditError for weights that the edits were
    not made for and for edits that cannot be had together, RewriteError for a rule that cannot be solved anew. The
    module is left as it was.
    """
    found = members(generator, pairs)
    plain = edits.compose((member.edit, member.strength) for member in found)
    edits.compare(plain.base, generator.module)
    tensors = edits.identity.state(generator.module)
    base = {name: tensors[name].detach().cpu().clone() for name in plain.touched}
    recipe = {VERB: [{"content": member.edit.content, "strength": member.strength} for member in found]}
    corrections, figures, beyond = [], [], set()
    with edits.applied(generator.module, (plain, 1.0)) as stack:
        for meeting in meetings(generator, found, base):
            if meeting.is_alone:
                continue
            beyond |= {member.edit.content for member in meeting.beyond}
            progress(f"solving {meeting.layer.name}", 0, 1)
            promises = meeting.promises(generator, progress)
            world = shared_world(generator, meeting.layer, meeting.recipes, progress)
            solved, joint = _corrected(meeting, promises, world)
            correction = None if solved is None else _correction(generator, meeting, tensors | base, solved, recipe)
            if correction is not None:
                stack.push(correction, 1.0)
                corrections.append(correction)
            figures.append(_figures(generator, meeting, promises, correction, joint))
            progress(f"solving {meeting.layer.name}", 1, 1)
    return edits.compose(
        [(plain, 1.0), *((correction, 1.0) for correction in corrections)],
        recipe=recipe,
        made_by=_made_by(),
        notes=_notes(found, figures, sorted(beyond)),
    )


def _corrected(
    meeting: Meeting, promises: Sequence[Promise], world: Background
) -> tuple[Change | None, Correction | None]:
    """The whole correction of a layer, as stored: what solving anew changes, and what the joint solve adds."""
    joint, around = None, meeting.around
    if len(promises) > 1 or around is not None:
        joint = correct(meeting.layer, meeting.weight, world, promises, around, meeting.eps)
    if not meeting.above:
        return (None if joint is None else joint.change), joint
    stored = change_of(meeting.layer, meeting.base, [(p.member.edit, p.member.strength) for p in promises])
    assert stored is not None
    parts = [promise.change for promise in promises] + [stored.scaled(-1)] + ([joint.change] if joint else [])
    change, _ = truncate(side_by_side(parts), world.moments.at((0, 0)), meeting.eps, ENERGY)
    return change.rounded(), joint


def _correction(
    generator: Generator, meeting: Meeting, tensors: Mapping[str, Tensor], change: Change, recipe: dict[str, Any]
) -> edits.Edit | None:
    """The correction as an edit of the base, None if it would be lost in rounding."""
    layer = meeting.layer
    edit = edits.Edit(
        operations={layer.weight: (as_operation(layer, change),)},
        base=edits.describe(tensors, [layer.weight], upstream=layer.upstream, architecture=generator.architecture),
        recipe=recipe,
        made_by=_made_by(),
        notes={"layer": layer.name, "rank": change.rank},
    )
    altered = materialise(meeting.base, changes(edit, 1.0)[layer.weight])
    return None if torch.equal(altered, meeting.base) else edit


def _figures(
    generator: Generator,
    meeting: Meeting,
    promises: Sequence[Promise],
    correction: edits.Edit | None,
    joint: Correction | None,
) -> dict[str, Any]:
    """What became of every promise at a layer, and of the rest of the world there."""
    layer, states = meeting.layer, natural_states(generator, meeting)
    added = [] if correction is None else [(correction, 1.0)]
    summed = change_of(layer, meeting.base, meeting.parts)
    resolved = change_of(layer, meeting.base, meeting.parts + added)
    before, after = (shift(meeting, states, change) for change in (summed, resolved))
    return {
        "layer": layer.name,
        "solved_anew": meeting.above,
        "price": joint and joint.price,
        "step": joint and joint.step,
        "rank": correction and correction.notes["rank"],
        "background_shift_of_sum": _short(before.background),
        "background_shift": _short(after.background),
        "gain_drift_of_sum": _short(before.drift),
        "gain_drift": _short(after.drift),
        "rules": [_kept(meeting, promise, summed, resolved) for promise in promises],
    }


def _kept(meeting: Meeting, promise: Promise, summed: Change | None, resolved: Change | None) -> dict[str, Any]:
    evidence = promise.evidence
    by_sum, by_resolve = (written(meeting.layer, meeting.weight, evidence, change) for change in (summed, resolved))
    return {
        "content": promise.member.edit.content,
        "strength": promise.member.strength,
        "loss_in_sum": _short(promise.loss(by_sum)),
        "loss": _short(promise.loss(by_resolve)),
        "residual_alone": _short(residual(evidence, promise.written)),
        "residual_in_sum": _short(residual(evidence, by_sum)),
        "residual": _short(residual(evidence, by_resolve)),
    }


def _notes(found: Sequence[Member], figures: Sequence[dict[str, Any]], beyond: list[str]) -> dict[str, Any]:
    fixed = [member.edit.content for member in found if member.rule is None]
    solved = sum(len(layer["rules"]) for layer in figures)
    said = [
        _counted(solved, "rule", "solved together"),
        _counted(len(found) - len(fixed) - solved, "rule", "meeting no other edit, kept to the bit"),
        _counted(len(fixed) - len(beyond), "edit", "without a recipe to replay, kept unchanged and solved around"),
        _counted(len(beyond), "edit", "with a scale or a set at a rule's layer, kept unchanged and not solved around"),
    ]
    return {
        "said": "; ".join(filter(None, said)),
        "fixed": fixed,
        "not_solved_around": beyond,
        "layers": list(figures),
    }


def _counted(count: int, what: str, how: str) -> str:
    return f"{count} {what}{'s' * (count != 1)} {how}" if count else ""


def _made_by() -> dict[str, Any]:
    return {"tool": "rewrite", "version": version("rewrite"), "verb": VERB}


def _short(value: float) -> float:
    return float(f"{value:.6g}")
