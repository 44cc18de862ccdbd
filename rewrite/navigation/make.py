"""Directions of a generator by one method: found, calibrated, labelled, and each told once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewrite.concepts import Segmenter
from rewrite.generator import Generator
from rewrite.navigation import methods
from rewrite.navigation.alike import merged
from rewrite.navigation.calibration import Bench, bench, calibrate
from rewrite.navigation.direction import Direction, Found, noted
from rewrite.navigation.labels import label
from rewrite.navigation.methods import Options
from rewrite.navigation.metric import SIDE, metric
from rewrite.perception import Extractor
from rewrite.progress import Progress, quiet

SEEDS = tuple(range(16))


def navigate(
    generator: Generator, *, method: str, layer: str | None = None, strength: float | None = None,
    seeds: Sequence[int] = SEEDS, eye: Extractor | None = None, **options: Any,
) -> list[Direction]:  # fmt: skip
    """The directions that a method finds, best first; their edits have a strength that means something.

    `layer` and `options` are what the method is asked (see `Options`). Strength 1 is a mean distance of `strength` on
    `seeds` by the metric of the options (see `calibrate`). With a `segmenter` directions are labelled; with an `eye`
    the range in which images look real is measured.
    """
    asked = Options(**options) if layer is None else Options(layers=(layer,), **options)
    found = methods.method(method)(generator, asked)
    side = SIDE if asked.size is None else asked.size
    place = bench(
        generator, metric(asked.net, side=side, device=generator.device, progress=asked.progress),
        seeds=seeds, truncation=asked.truncation, noise=asked.noise, eye=eye, progress=asked.progress,
    )  # fmt: skip
    return directions(
        found, place, method=method, strength=strength, segmenter=asked.segmenter, progress=asked.progress
    )


def directions(
    found: Sequence[Found], place: Bench, *, method: str, strength: float | None = None,
    segmenter: Segmenter | None = None, progress: Progress = quiet,
) -> list[Direction]:  # fmt: skip
    """What was found, calibrated on a bench, labelled where there is a segmenter, and without repetitions."""
    made = []
    for done, one in enumerate(found):
        progress("calibrating", done, len(found))
        edit, calibration = calibrate(one.edit, place, target=strength)
        named = label(edit, place, segmenter) if segmenter else None
        notes: dict[str, Any] = {"name": one.name, "calibration": calibration.as_json()}
        if named:
            notes["label"] = named.as_json()
        made.append(Direction(noted(edit, notes), one.name, method, dict(one.facts), calibration, named))
    progress("calibrating", len(found), len(found))
    return merged(made, place)
