"""Units that go with images which look unreal, and what silencing them does for the distance to real ones.

Bau et al. 2019, "GAN Dissection", section 4.2, picked such units by hand. Here a unit is suspected whose peak in an
image is high where the image's realism is low, and is tried beside units chosen by lot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

import edits
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.perception import Extractor, Features, Moments, frechet_distance
from rewrite.progress import Progress, quiet
from rewrite.units.cause import CONTROLS, by_lot
from rewrite.units.change import change
from rewrite.units.features import Site, World, passes, sites
from rewrite.units.protocol import CHOOSING, SCORING

NEIGHBOURS = 5
SAMPLES = 1_000
ROWS = 1_024


@dataclass(frozen=True)
class Suspect:
    """A unit, and how its largest value in an image goes with the image's lack of realism."""

    unit: int
    correlation: float
    """Of ranks (Spearman), from -1 to 1."""
    z: float
    """Of the correlation, where there is none: about standard normal."""


@dataclass(frozen=True)
class Distance:
    """The Fréchet distance to real images with units silenced."""

    units: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class Cleaning:
    """Distances before, after, and with as many units chosen by lot silenced; all on the same latents."""

    layer: str
    extractor: str
    images: int
    before: float
    after: Distance
    controls: tuple[Distance, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return asdict(self)


def realism(real: Features, made: Features, *, k: int = NEIGHBOURS) -> Tensor:
    """How real each made image is (N,) float64: above 1 it lies within the balls of real ones.

    The largest, over real images, of the radius to their k-th neighbour over the distance to the made one; the larger
    half of the balls is left out (Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric", equation 3).
    """
    if not 0 < k < len(real):
        raise RewriteError(f"neighbours of order {k} were asked of {len(real)} images; expected 1 <= k < images")
    there, here = real.values.double(), made.values.double()
    radii = torch.cat(
        [torch.cdist(block, there).topk(k + 1, largest=False).values[:, -1] for block in there.split(ROWS)]
    )
    kept = radii <= radii.median()
    return torch.cat(
        [(radii[kept] / torch.cdist(block, there[kept]).clamp(min=1e-12)).amax(1) for block in here.split(ROWS)]
    )


@torch.no_grad()
def suspects(
    generator: Generator,
    layer: str,
    real: Features,
    eye: Extractor,
    *,
    samples: int = SAMPLES,
    k: int = NEIGHBOURS,
    world: World | None = None,
    progress: Progress = quiet,
) -> list[Suspect]:
    """Units of a layer, those first that go most with a lack of realism, as `eye` sees it, by `samples` images."""
    (site,) = sites(generator, [layer]).values()
    peaks, seen = [], []
    for _, held in passes(generator, site, CHOOSING, samples, world or World(), progress):
        peaks.append(site.inside(held.features).amax((2, 3)).double().cpu())
        seen.append(eye.of([held.images()]))
    lack = -realism(real, Features.join(seen), k=k)
    correlation = rank_correlation(torch.cat(peaks), lack)
    order = correlation.argsort(descending=True, stable=True).tolist()
    return [Suspect(unit, float(correlation[unit]), float(correlation[unit]) * (samples - 1) ** 0.5) for unit in order]


def cleaned(
    generator: Generator,
    layer: str,
    units: Sequence[int],
    real: Features,
    eye: Extractor,
    *,
    samples: int = SAMPLES,
    controls: int = CONTROLS,
    seed: int = 0,
    world: World | None = None,
    progress: Progress = quiet,
) -> Cleaning:
    """The Fréchet distance to real images before, and with the units silenced by an edit of the weights.

    Measured on other latents than units are suspected on.
    """
    (site,) = sites(generator, [layer]).values()
    how, far = world or World(), Moments.of(real)

    def distance() -> float:
        near = Moments.streamed(_features(generator, site, eye, samples, how, progress))
        return frechet_distance(far, near, singular=min(len(real), samples) <= real.values.shape[1]).value

    def without(chosen: Sequence[int]) -> Distance:
        edit = change(generator, layer, chosen, "ablate", noise=how.noise, progress=progress)
        with edits.applied(generator.module, (edit, 1.0)):
            return Distance(tuple(sorted(chosen)), distance())

    lots = [by_lot(site.units, [units], seed + draw)[0] for draw in range(controls)]
    return Cleaning(
        layer, eye.identity.short, samples, distance(), without(units), tuple(without(chosen) for chosen in lots)
    )


def rank_correlation(values: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation (C,) float64 of each column of values (N, C) with (N,); 0 for a column of one value."""
    one, two = (_ranks(each) for each in (values, other[:, None]))
    one, two = one - one.mean(0), two - two.mean(0)
    return (one * two).sum(0) / (one.norm(dim=0) * two.norm(dim=0)).clamp(min=1e-12)


def _ranks(values: Tensor) -> Tensor:
    """Ranks within columns; equal values share the mean of theirs."""
    found = torch.empty_like(values, dtype=torch.float64)
    for column in range(values.shape[1]):
        _, where, counts = values[:, column].unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        found[:, column] = (last - (counts - 1) / 2)[where]
    return found


def _features(
    generator: Generator, site: Site, eye: Extractor, samples: int, world: World, progress: Progress
) -> list[Features]:
    return [eye.of([held.images()]) for _, held in passes(generator, site, SCORING, samples, world, progress)]
