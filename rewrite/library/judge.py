"""An entry's edit before the gate, looked at as its manifest says."""

from __future__ import annotations

from functools import cache

import edits
from rewrite import check as gate
from rewrite.check import Bounds, Remembered, Verdict
from rewrite.check.gate import HELD_OUT
from rewrite.concepts import Segmenter
from rewrite.concepts import segmenter as named
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.library.manifest import Look
from rewrite.progress import Progress


def judged(
    generator: Generator, edit: edits.Edit, look: Look, progress: Progress, *,
    bounds: Bounds | None = None, remembered: Remembered | None = None,
) -> Verdict:  # fmt: skip
    """The verdict on an edit at its own strength, on the seeds of `look` and no more."""
    if look.first + look.samples > HELD_OUT:
        raise RewriteError(f"seeds {look.first} on are held out; give a first seed below {HELD_OUT - look.samples}")
    return gate.check(
        generator,
        [(edit, None)],
        view(look),
        samples=look.samples,
        cap=look.samples,
        first=look.first,
        bounds=bounds,
        remembered=remembered,
        progress=progress,
    )


def view(look: Look) -> gate.View:
    """What a manifest's words mean."""
    segmenter = _segmenter(look.segmenter) if look.segmenter else None
    place = gate.box(look.region) if look.region else None
    if look.concept and segmenter:
        place = gate.concept(segmenter, look.concept, of=str(look.segmenter))
    return gate.view(eye=look.eye, distance=look.distance, place=place, segmenter=segmenter, truncation=look.truncation)


@cache
def _segmenter(name: str) -> Segmenter:
    """One object for all entries, so that what it said of the base need not be asked again."""
    return named(name)
