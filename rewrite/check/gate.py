"""The verdict on an edit: PASS, FAIL, or MORE seeds, which are then looked at until they decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from rewrite.check.before import Remembered, forgetful
from rewrite.check.bounds import Bounds, Limit
from rewrite.check.findings import Finding, areas, diagnostics, findings, limits_of
from rewrite.check.look import Applied, Seen, View, features, look
from rewrite.errors import RewriteError, nearest
from rewrite.generator import Generator
from rewrite.perception import Features, extractor
from rewrite.perception import distance as perceptual
from rewrite.progress import Progress, quiet

Outcome = Literal["PASS", "FAIL", "MORE"]
HELD_OUT = 2**24
"""The first of the seeds that stand for the base's own variety: no recipe and no check uses them otherwise."""
SAMPLES, CAP = 1_000, 4_000


@dataclass(frozen=True)
class Judgement:
    """One finding against its limit."""

    name: str
    finding: Finding
    limit: Limit
    outcome: Outcome

    @property
    def asked(self) -> str:
        """The limit in words."""
        most = [f"at most {self.limit.most:g}"] if self.limit.most is not None else []
        least = [f"at least {self.limit.least:g}"] if self.limit.least is not None else []
        return " and ".join(most + least)


@dataclass(frozen=True)
class Verdict:
    """What an edit did, on how many seeds, and whether that is within its limits."""

    outcome: Outcome
    judgements: tuple[Judgement, ...]
    findings: Mapping[str, Finding]
    diagnostics: Mapping[str, Any]
    areas: Mapping[str, Mapping[str, float]]
    conditions: Mapping[str, Any]
    """What was looked with and at: model, extractor, distance, place, seeds, truncation."""
    edits: tuple[tuple[str, float], ...]
    """Content digests and strengths."""
    seen: Seen
    view: View

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON, but what was seen of each seed."""
        return {
            "outcome": self.outcome,
            "judgements": [
                {"name": one.name, "outcome": one.outcome, "limit": one.limit.model_dump(exclude_none=True)}
                for one in self.judgements
            ],
            "findings": {name: one.facts for name, one in self.findings.items()},
            "diagnostics": dict(self.diagnostics),
            "areas": {name: dict(of) for name, of in self.areas.items()},
            "conditions": dict(self.conditions),
            "samples": len(self.seen.seeds),
            "edits": [{"content": content, "strength": strength} for content, strength in self.edits],
        }

    def ranked(self) -> list[int]:
        """Seeds by how much changed that should not have, most first."""
        key = "distance outside" if "distance outside" in self.seen.each else "distance"
        return [self.seen.seeds[i] for i in self.seen.each[key].argsort(descending=True, stable=True).tolist()]


def view(*, eye: str = "lite0@64/320", distance: str = "pd-lite0", device: str = "cpu", **rest: Any) -> View:
    """What an edit is looked at with, by names; `rest` are the other fields of a `View`."""
    return View(extractor(eye, device=device), perceptual(distance, device=device), **rest)


def check(
    generator: Generator,
    applied: Applied,
    view: View,
    *,
    samples: int = SAMPLES,
    cap: int = CAP,
    first: int = 0,
    bounds: Bounds | None = None,
    remembered: Remembered | None = None,
    progress: Progress = quiet,
) -> Verdict:
    """Seeds `first` on, twice as many again while undecided, up to `cap`.

    `remembered` keeps what is seen without the edits, for further checks of the same generator.
    RewriteError if the bounds are of another edit, or were measured with anything else than `view`.
    """
    if not applied or not 8 <= samples <= cap or first + cap > HELD_OUT:
        raise RewriteError(
            f"a check of {len(applied)} edits on {samples} to {cap} seeds from {first} cannot be; expected one edit at "
            f"least, 8 seeds at least, and seeds below {HELD_OUT}"
        )
    named = tuple((edit.content, edit.strength if strength is None else strength) for edit, strength in applied)
    conditions = _conditions(generator, view, first) | {"strengths": [strength for _, strength in named]}
    _agree(bounds, named, conditions)
    remembered = remembered or forgetful(generator)
    out = range(HELD_OUT, HELD_OUT + samples)
    look_at_held_out = partial(features, generator, out, view, progress=progress)
    held = remembered.once("held out", out, view.ways, look_at_held_out)
    seen = look(generator, applied, range(first, first + samples), view, remembered=remembered, progress=progress)
    found, judged = _judged(seen, held, bounds)
    while _outcome(judged) == "MORE" and 2 * len(seen.seeds) <= cap:
        more = range(first + len(seen.seeds), first + 2 * len(seen.seeds))
        seen = Seen.join([seen, look(generator, applied, more, view, remembered=remembered, progress=progress)])
        found, judged = _judged(seen, held, bounds)
    classes = tuple(view.segmenter.classes) if view.segmenter else ()
    return Verdict(
        _outcome(judged), judged, found, diagnostics(seen, held), areas(seen, classes), conditions, named, seen, view
    )  # fmt: skip


def judge(name: str, finding: Finding, limit: Limit) -> Judgement:
    """Decided only where the whole interval is on one side."""
    broken = (limit.most is not None and finding.low > limit.most) or (
        limit.least is not None and finding.high < limit.least
    )
    kept = (limit.most is None or finding.high <= limit.most) and (limit.least is None or finding.low >= limit.least)
    return Judgement(name, finding, limit, "FAIL" if broken else "PASS" if kept else "MORE")


def _judged(seen: Seen, held: Features, bounds: Bounds | None) -> tuple[dict[str, Finding], tuple[Judgement, ...]]:
    found = findings(seen, held)
    limits = dict(bounds.limits) if bounds else {name: Limit(most=most) for name, most in limits_of(found).items()}
    for name in limits:
        if name not in found:
            raise RewriteError(f"there is no finding {name!r} to bound here; nearest: {nearest(name, found)}")
    return found, tuple(judge(name, found[name], limit) for name, limit in limits.items())


def _outcome(judged: tuple[Judgement, ...]) -> Outcome:
    outcomes = {one.outcome for one in judged}
    return "FAIL" if "FAIL" in outcomes else "MORE" if "MORE" in outcomes else "PASS"


def _conditions(generator: Generator, view: View, first: int) -> dict[str, Any]:
    return {
        "model": generator.name or generator.architecture,
        "eye": str(view.eye.identity),
        "distance": str(view.distance_identity(generator)),
        "place": view.place.name if view.place else None,
        **({"side": side} if (side := view.side(generator)) < generator.resolution else {}),
        "first seed": first,
        "truncation": view.truncation,
        "noise": view.noise,
    }


def _agree(bounds: Bounds | None, named: tuple[tuple[str, float], ...], conditions: dict[str, Any]) -> None:
    if bounds is None:
        return
    if bounds.edit is not None and [bounds.edit] != [content for content, _ in named]:
        raise RewriteError(
            f"the bounds are of edit {bounds.edit[:12]}, and {', '.join(content[:12] for content, _ in named)} is "
            f"checked; measure bounds of its own with --write-bounds"
        )
    # As a whole: what is not named would be judged with anything.
    for name in sorted(bounds.conditions.keys() | conditions.keys() if bounds.conditions else ()):
        if conditions.get(name) != (value := bounds.conditions.get(name)):
            raise RewriteError(
                f"the bounds were measured with {name} {value!r}, and this check has {conditions.get(name)!r}; check "
                f"as they were measured, or write new ones"
            )


__all__ = ["CAP", "SAMPLES", "Judgement", "Outcome", "Verdict", "check", "judge", "view"]
