"""Directions of a generator by one method: found, calibrated, labelled, and each told once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import edits
from rewrite.concepts import Segmenter
from rewrite.concepts import segmenter as named
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation import methods
from rewrite.navigation.alike import merged
from rewrite.navigation.calibration import Bench, bench, calibrate
from rewrite.navigation.direction import Direction, Found, noted
from rewrite.navigation.labels import label
from rewrite.navigation.methods import Options
from rewrite.navigation.metric import SIDE, metric
from rewrite.navigation.recipe import SEEDS, Recipe, written
from rewrite.perception import Extractor, extractor
from rewrite.progress import Progress, quiet
from rewrite.recipes import parsed


def navigate(
    generator: Generator, *, method: str, layer: str | None = None, strength: float | None = None,
    seeds: Sequence[int] = SEEDS, segmenter: Segmenter | str | None = None, eye: Extractor | str | None = None,
    **options: Any,
) -> list[Direction]:  # fmt: skip
    """The directions that a method finds, best first; their edits have a strength that means something.

    `layer` and `options` are what the method is asked (see `Options`). Strength 1 is a mean distance of `strength` on
    `seeds` by the metric of the options (see `calibrate`). With a `segmenter` directions are labelled; with an `eye`
    the range in which images look real is measured. A conditional generator is held at a class first (see
    `Generator.of_class`). Each edit's recipe makes it again (see `again`).
    """
    judge = named(segmenter, device=generator.device.type) if isinstance(segmenter, str) else segmenter
    asked = Options(segmenter=judge, **options) if layer is None else Options((layer,), segmenter=judge, **options)
    recipe = partial(
        written, generator, method, asked, segmenter=_name(segmenter), distance=strength, seeds=seeds, eye=_name(eye)
    )
    # A search may take an hour: what nobody can ask for is told before it.
    search, _ = _search(method, asked), recipe(index=0)
    place = _bench(generator, asked, seeds, eye)
    place.target(strength)
    found = search(generator, asked)
    known = [replace(one, edit=replace(one.edit, recipe=recipe(index=i))) for i, one in enumerate(found)]
    return directions(known, place, method=method, strength=strength, segmenter=judge, progress=asked.progress)


def again(generator: Generator, recipe: Any, *, progress: Progress = quiet) -> edits.Edit:
    """The edit of a direction that a recipe asks for, as `navigate` made it; RewriteError for another recipe."""
    asked = parsed(Recipe, recipe, "the recipe of a direction").of(generator)
    search = asked.direction
    generator = generator if search.label in (None, generator.held) else generator.of_class(search.label or 0)
    options = search.options(generator.device.type, progress)
    found = _search(search.method, options)(generator, options)
    if search.index >= len(found):
        raise RewriteError(
            f"the recipe asks for direction {search.index} of {search.method}, which finds {len(found)}; ask for 0 to "
            f"{len(found) - 1}"
        )
    place = _bench(generator, options, search.calibrate_on, search.eye)
    one = _measured(found[search.index], place, search.method, search.distance, options.segmenter)
    return replace(one.edit, strength=asked.strength, recipe=asked.as_json())


def directions(
    found: Sequence[Found], place: Bench, *, method: str, strength: float | None = None,
    segmenter: Segmenter | None = None, progress: Progress = quiet,
) -> list[Direction]:  # fmt: skip
    """What was found, calibrated on a bench, labelled where there is a segmenter, and without repetitions."""
    made = []
    for done, one in enumerate(found):
        progress("calibrating", done, len(found))
        made.append(_measured(one, place, method, strength, segmenter))
    progress("calibrating", len(found), len(found))
    return merged(made, place)


def _measured(
    one: Found, place: Bench, method: str, strength: float | None, segmenter: Segmenter | None
) -> Direction:  # fmt: skip
    edit, calibration = calibrate(one.edit, place, target=strength)
    named = label(edit, place, segmenter) if segmenter else None
    notes: dict[str, Any] = {"name": one.name, "strength": calibration.says, "calibration": calibration.as_json()}
    if named:
        notes |= {"does": named.says, "label": named.as_json()}
    return Direction(noted(edit, notes), one.name, method, dict(one.facts), calibration, named)


def _search(name: str, options: Options) -> methods.Method:
    """The method of that name; RewriteError for a place that it does not look at."""
    found = methods.method(name)
    if options.region is not None and name in methods.PLACELESS:
        raise RewriteError(
            f"{name} looks at no place on images, and {options.region.name} was given; leave it out, or use hessian, "
            f"concept, stylespace, lowrankgan or resefa"
        )
    return found


def _name(given: object) -> str | None:
    return given if isinstance(given, str) else None


def _bench(generator: Generator, asked: Options, seeds: Sequence[int], eye: Extractor | str | None) -> Bench:
    side = SIDE if asked.size is None else asked.size
    device, progress = generator.device, asked.progress
    return bench(
        generator, metric(asked.net, side=side, device=device, progress=progress), seeds=seeds,
        truncation=asked.truncation, noise=asked.noise,
        eye=extractor(eye, device=device, progress=progress) if isinstance(eye, str) else eye, progress=progress,
    )  # fmt: skip
