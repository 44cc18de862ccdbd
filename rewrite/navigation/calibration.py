"""What a strength means: how far images move, where that stops growing, and where they stop looking real.

Strength 1 is made to be a stated distance, in the mean over fixed seeds and both signs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

import edits
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Noise
from rewrite.navigation.direction import scaled, short
from rewrite.navigation.metric import Metric
from rewrite.navigation.reach import CLOSE, reach
from rewrite.perception import Extractor, Features
from rewrite.progress import Progress, quiet

SHARE = 0.1
"""Strength 1, unless it is stated otherwise: this share of the mean distance between images of two seeds."""
LADDER = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Strengths that are measured, of both signs."""
SATURATED = 0.25
"""A change whose root grows by less than this share of what its strength grows by has saturated."""
NEIGHBOURS = 3
REFERENCE = 128
"""Images of other seeds that edited ones are held against."""
FALLEN = 0.25
"""Realism has fallen where so many more of the images than at strength 0 lie among no real ones."""


@dataclass(frozen=True)
class Rung:
    """One strength, and what it does in the mean over the seeds."""

    strength: float
    distance: float
    real: float | None
    """Share of images that lie among those of the unedited generator; None where that was not looked at."""


@dataclass(frozen=True)
class Calibration:
    """What strength 1 is, and how far strengths may go."""

    metric: str
    target: float
    """The distance that was stated."""
    reached: float
    """The mean distance at strengths 1 and -1."""
    between: float
    """The mean distance between images of two seeds, unedited: what 'another image' is."""
    seeds: tuple[int, ...]
    factor: float
    """The method's own strength that is now 1."""
    curve: tuple[Rung, ...]
    """By rising strength."""
    lowest: float
    highest: float
    """The usable range, within the strengths that were measured: neither saturated nor fallen in realism."""
    saturates: tuple[float | None, float | None]
    """The first strengths below and above 0 where the change has stopped growing; None where it has not."""
    falls: tuple[float | None, float | None]
    """The same of realism."""

    @property
    def says(self) -> str:
        """In a sentence."""
        apart = f"{self.reached / self.between:.0%} of what lies between two seeds" if self.between else "of no scale"
        words = f"strength 1 is {self.metric} {self.reached:.3g} ({apart}); usable {self.lowest:g} to {self.highest:g}"
        if self.reached < (1 - 2 * CLOSE) * self.target:
            words += f"; {self.target:.3g} was asked for and is out of its reach"
        return words

    def as_json(self) -> dict[str, Any]:
        facts = asdict(self)
        return facts | {"seeds": list(self.seeds), "saturates": list(self.saturates), "falls": list(self.falls)}


@dataclass(frozen=True, eq=False)
class Bench:
    """Fixed seeds of a generator, how their change is measured, and what real ones look like."""

    generator: Generator
    metric: Metric
    seeds: tuple[int, ...]
    truncation: float
    noise: Noise
    base: Tensor
    """Embeddings (N, F) of the seeds unedited."""
    between: float
    eye: Extractor | None
    reference: Features | None

    def target(self, asked: float | None = None) -> float:
        """The distance that strength 1 is: what is asked, or a tenth of what lies between two seeds. RewriteError where
        that is nothing.
        """
        if asked is None and not self.between > 0:
            raise RewriteError(
                f"the images of {len(self.seeds)} seeds are all alike, so no share of what lies between two is a "
                f"strength; calibrate on other seeds, or state a distance"
            )
        target = SHARE * self.between if asked is None else asked
        if not 0 < target < math.inf:
            raise RewriteError(f"a distance of {target:g} was asked of strength 1; expected a number above 0")
        return target

    def images(self, batch: int = 4) -> Iterator[Tensor]:
        """Images (N, 3, H, W) of the seeds by the weights as they are."""
        with torch.no_grad():
            for first in range(0, len(self.seeds), batch):
                z = self.generator.latents(self.seeds[first : first + batch])
                yield self.generator.synthesize(
                    ws=self.generator.styles(z, truncation=self.truncation), noise=self.noise
                )

    def moved(self, edit: edits.Edit, strength: float, *, realism: bool = False) -> Rung:
        """What the edit does at a strength."""
        seen, looks = [], []
        with edits.applied(self.generator.module, (edit, strength)):
            for images in self.images():
                seen.append(self.metric.embed(images))
                if realism and self.eye is not None:
                    looks.append(self.eye(images).cpu())
        distance = float((torch.cat(seen) - self.base).square().sum(1).double().mean())
        return Rung(strength, distance, self._real(torch.cat(looks)) if looks else None)

    def _real(self, looks: Tensor) -> float:
        """Share of the images that lie within reach of a real one (Kynkäänniemi et al. 2019, precision)."""
        reference = self.reference.values if self.reference else looks
        reach = torch.cdist(reference, reference).topk(NEIGHBOURS + 1, largest=False).values[:, -1]
        return float((torch.cdist(looks, reference) < reach).any(1).double().mean())


def bench(
    generator: Generator, metric: Metric, *, seeds: Sequence[int] = tuple(range(16)), truncation: float = 1.0,
    noise: Noise = "const", eye: Extractor | None = None, progress: Progress = quiet,
) -> Bench:  # fmt: skip
    """Where directions are calibrated: these seeds, and with an `eye` the 128 after them for realism.

    RewriteError for fewer than two seeds.
    """
    if len(seeds) < 2:
        raise RewriteError(f"{len(seeds)} seeds were given to calibrate by; expected two at least")
    made = Bench(generator, metric, tuple(seeds), truncation, noise, torch.empty(0), 0.0, None, None)
    with torch.no_grad():
        base = torch.cat([metric.embed(images) for images in made.images()])
    apart = (base - base.roll(1, 0)).square().sum(1).double().mean()
    reference = None
    if eye is not None:
        others = tuple(range(max(seeds) + 1, max(seeds) + 1 + REFERENCE))
        world = Bench(generator, metric, others, truncation, noise, base, 0.0, None, None)
        looks: list[Tensor] = []
        for images in world.images():
            progress("what real images look like", 4 * len(looks), REFERENCE)
            looks.append(eye(images).cpu())
        reference = Features(torch.cat(looks), eye.identity)
    return Bench(generator, metric, tuple(seeds), truncation, noise, base, float(apart), eye, reference)


def calibrate(
    edit: edits.Edit, place: Bench, *, target: float | None = None, ladder: Sequence[float] = LADDER,
    progress: Progress = quiet,
) -> tuple[edits.Edit, Calibration]:  # fmt: skip
    """The edit at another scale, of which strength 1 is a mean distance of `target`, and what was measured of it.

    Without a target it is a tenth of the mean distance between two seeds. Where even the largest strength that was
    tried stays below it, strength 1 is half of the largest distance that was reached, and the calibration says so. An
    edit that scales or sets, or moves codes to a place, has no other unit: it stays as it is, and is measured.
    RewriteError for an edit that changes no image.
    """
    target = place.target(target)
    if _rescalable(edit):
        factor, reached = reach(lambda one: _both(edit, place, one), target, progress=progress)
        if not reached:
            raise RewriteError(f"edit {edit.content[:12]} changes none of {len(place.seeds)} images at any strength")
        own = scaled(edit, factor)
    else:
        factor, reached, own = 1.0, place.moved(edit, 1.0).distance, edit
    strengths = [*(-strength for strength in reversed(ladder)), 0.0, *ladder]
    strengths = [strength for strength in strengths if accepts(own, strength)]
    curve = []
    for done, strength in enumerate(strengths):
        progress("measuring strengths", done, len(strengths))
        curve.append(place.moved(own, strength, realism=True))
    progress("measuring strengths", len(strengths), len(strengths))
    zero = strengths.index(0.0)
    below, above = curve[zero::-1], curve[zero:]
    stops = [_saturates(side) for side in (below, above)]
    falls = [_falls(side) for side in (below, above)]
    ends = [_end(side, stop, fall) for side, stop, fall in zip((below, above), stops, falls, strict=True)]
    return own, Calibration(
        place.metric.name, short(target), short(reached), short(place.between), place.seeds, short(factor),
        tuple(Rung(one.strength, short(one.distance), one.real) for one in curve),
        ends[0], ends[1], (stops[0], stops[1]), (falls[0], falls[1]),
    )  # fmt: skip


def accepts(edit: edits.Edit, strength: float) -> bool:
    """Whether the edit can have that strength, and means something at it: one to a place goes from 0 to 1."""
    if _to_a_place(edit) and not 0 <= strength <= 1:
        return False
    try:
        edit.accepted(strength)
    except edits.EditError:
        return False
    return True


def _both(edit: edits.Edit, place: Bench, strength: float) -> float:
    """The mean distance over both signs."""
    return (place.moved(edit, strength).distance + place.moved(edit, -strength).distance) / 2


def _rescalable(edit: edits.Edit) -> bool:
    adds = all(isinstance(one, edits.Add) for each in edit.operations.values() for one in each)
    return not edit.members and adds and not _to_a_place(edit)


def _to_a_place(edit: edits.Edit) -> bool:
    """Whether it moves codes to a place, at which they are at strength 1."""
    every = [one for each in edit.operations.values() for one in each]
    return any(isinstance(one, edits.Add) and one.projective is not None for one in every)


def _saturates(side: Sequence[Rung]) -> float | None:
    """The first strength from which the root of the distance grows at under a quarter of the strength's own rate."""
    for here, after in pairwise(side[1:]):
        grown = math.sqrt(after.distance / here.distance) - 1 if here.distance > 0 else math.inf
        if grown < SATURATED * (after.strength / here.strength - 1):
            return here.strength
    return None


def _falls(side: Sequence[Rung]) -> float | None:
    first = side[0].real
    if first is None:
        return None
    return next((one.strength for one in side[1:] if one.real is not None and one.real < first - FALLEN), None)


def _end(side: Sequence[Rung], *stops: float | None) -> float:
    """The last strength before any of the stops; 0 where the first one is beyond one."""
    usable = 0.0
    for one in side[1:]:
        if any(stop is not None and abs(one.strength) >= abs(stop) for stop in stops):
            return usable
        usable = one.strength
    return usable
