"""Figures as sentences: what is wrong with a plain sum, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rewrite.composition.losses import Matrix
from rewrite.composition.result import AtLayer, Clash, Party, Resolved, Rounding, Touch
from rewrite.composition.verdict import THRESHOLDS, Finding

BETTER = 0.5
"""`resolve` is the remedy where it leaves no more than this share of the worst loss."""


def findings(
    parties: Sequence[Party],
    clashes: Sequence[Clash],
    touches: Sequence[Touch],
    losses: Matrix,
    losses_in_sum: Sequence[float | None],
    layers: Sequence[AtLayer],
    rounding: Sequence[Rounding],
    resolved: Resolved | None,
) -> Iterator[Finding]:
    """Everything that was looked at: the surest and the worst of its kind first."""
    yield from (Finding("conflict", clash.said, "use one of the two, or make one of them again") for clash in clashes)
    yield from _losses(parties, losses, losses_in_sum, resolved)
    yield from _elsewhere(layers)
    yield from _rounding(parties, rounding)
    yield from _unknown(parties, touches)
    yield from _crowds(layers)


def _losses(
    parties: Sequence[Party], losses: Matrix, losses_in_sum: Sequence[float | None], resolved: Resolved | None
) -> Iterator[Finding]:
    pairs = [(loss, i, j) for i, row in enumerate(losses) for j, loss in enumerate(row) if loss is not None]
    alike = len(parties) == 2
    summed = [(loss, i) for i, loss in enumerate(losses_in_sum) if loss is not None and not alike]
    for loss, i in sorted(summed, reverse=True):
        remedy = _remedy(loss, resolved) or (
            f"fewer edits at {parties[i].layer}: move some to another layer, or lower their strengths"
        )
        yield Finding.of("loss", loss, f"{_keeps(parties[i], loss)} among all {len(parties)} edits", remedy)
    for loss, i, j in sorted(pairs, reverse=True):
        other = parties[j]
        lower = other.strength * THRESHOLDS["loss"].warn / loss if loss else other.strength
        remedy = _remedy(loss, resolved) or (
            f"both want the same places: give one of them other places or another layer, or lower `{other.name}` to "
            f"{lower:.2g}"
        )
        yield Finding.of("loss", loss, f"{_keeps(parties[i], loss)} under `{other.name}`", remedy)


def _keeps(party: Party, loss: float) -> str:
    kept = f"keeps {1 - loss:.0%} of its effect" if loss < 1 else "is worse off than without it"
    return f"`{party.name}` {kept} at {party.layer} (predicted loss {loss:.2f})"


def _remedy(loss: float, resolved: Resolved | None) -> str | None:
    """`resolve`, where it helps."""
    if resolved is None:
        return None
    worst = max((left for left in resolved.losses if left is not None), default=0.0)
    if worst > max(BETTER * loss, THRESHOLDS["loss"].warn):
        return None
    shifts = ", ".join(f"{shift:.2f} at {layer}" for layer, shift in resolved.background_shift.items())
    return f"compose them with resolve (predicted loss {worst:.2f}, background shift {shifts})"


def _elsewhere(layers: Sequence[AtLayer]) -> Iterator[Finding]:
    for at in layers:
        if at.together is None:
            continue
        parts = ", ".join(f"{shift.background:.2f}" for shift in at.alone)
        yield Finding.of(
            "background_shift",
            at.together.background,
            f"together the edits change the output of {at.layer} by {at.together.background:.2f} of itself on images "
            f"that they are not about (the rules alone by {parts})",
            "lower the strengths, or make the rules again with a higher mu",
        )
        yield Finding.of(
            "gain_drift",
            at.together.drift,
            f"together the edits change the gains of {at.layer} by {at.together.drift:.2f} of themselves",
            "lower the strengths, or make the rules again with a higher nu",
        )


def _rounding(parties: Sequence[Party], rounding: Sequence[Rounding]) -> Iterator[Finding]:
    for one in sorted(rounding, key=lambda one: -one.lost):
        who = "the sum" if one.party is None else f"`{parties[one.party].name}`"
        yield Finding.of(
            "lost_to_rounding",
            one.lost,
            f"{one.dtype} keeps {1 - one.lost:.0%} of what {who} changes of {one.parameter}",
            "use the model in float32, or raise the strength",
        )


def _unknown(parties: Sequence[Party], touches: Sequence[Touch]) -> Iterator[Finding]:
    """Where an edit has no recipe, its own loss is not known: what both do to natural images must tell."""
    for touch in sorted(touches, key=lambda touch: -abs(touch.cosine)):
        one, other = (parties[i] for i in touch.pair)
        if one.layer is not None and other.layer is not None:
            continue
        how = "the same" if touch.cosine > 0 else "the opposite"
        yield Finding.of(
            "cosine",
            abs(touch.cosine),
            f"`{one.name}` and `{other.name}` do much {how} to natural images at {touch.layer} (cosine "
            f"{touch.cosine:.2f}); without the recipes of both this is all that can be told",
            "look at images of each alone and of both",
        )


def _crowds(layers: Sequence[AtLayer]) -> Iterator[Finding]:
    for at in layers:
        if len(at.rules) > 1:
            yield Finding.of(
                "conditioning",
                at.crowd.conditioning,
                f"the rules at {at.layer} read nearly the same keys (condition number {at.crowd.conditioning:.0f})",
                "give one of them other places, so that they can be told apart",
            )
            yield Finding.of(
                "capacity",
                at.crowd.capacity,
                f"the rules at {at.layer} take up {at.crowd.capacity:.0%} of its key directions",
                "write the next rule into another layer",
            )
