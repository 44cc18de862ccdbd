"""Units without a segmenter: those whose values in a painted region are rare, and what units are most on for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.latents import Name
from rewrite.progress import Progress, quiet
from rewrite.ranking import rarity
from rewrite.units.features import World, hold, sites
from rewrite.units.grid import Grid
from rewrite.units.protocol import PROTOCOLS
from rewrite.units.ranges import measure
from rewrite.units.result import Audit, Seen

SAMPLES = 256


@dataclass(frozen=True)
class Painted:
    """A region of one image: `coverage` gives the share of each cell (h, w) of a grid that is painted."""

    latent: Name
    coverage: Callable[[Grid], Tensor]
    """For example `partial(box_coverage, box)` of `rewrite.regions`."""
    label: int | None = None
    """The class of the image, of a conditional model."""


@torch.no_grad()
def rarest(
    generator: Generator,
    layer: str,
    painted: Sequence[Painted],
    *,
    samples: int = SAMPLES,
    world: World | None = None,
    progress: Progress = quiet,
) -> list[tuple[float, int]]:
    """(score, unit) of a layer's units, those first whose values in the painted regions are rarest in natural images.

    The score is the weighted mean of -log of the share of values that are at least as high (see `ranking.rarity`).
    RewriteError for a region that covers nothing.
    """
    how = world or World()
    found = sites(generator, [layer])
    (site,) = found.values()
    ranges = measure(generator, found, PROTOCOLS["quantile"], None, range(samples), world=how, progress=progress)
    values, weights = [], []
    for one in painted:
        weight = one.coverage(site.grid).flatten()
        if not weight.sum():
            raise RewriteError("a region covers nothing; draw it inside the image and make it larger than a point")
        label = None if one.label is None else [one.label]
        ws = generator.styles(generator.latents([one.latent]), truncation=how.truncation, label=label)
        features = site.inside(hold(generator, site, ws, how.noise).features)
        values.append(features[0].flatten(1).T.cpu())
        # Each region counts alike, however large it is.
        weights.append(weight / weight.sum())
    score = rarity(torch.cat(values), torch.cat(weights), ranges.layers[layer].histogram)
    order = score.argsort(descending=True, stable=True).tolist()
    return [(float(score[unit]), unit) for unit in order]


def patch(seen: Seen, grid: Grid, size: Grid, *, margin: float = 1.5) -> tuple[int, int, int, int]:
    """Top, left, bottom, right (exclusive) in pixels of the patch about the cell that a unit was highest in.

    `margin` cells on each side go with it; what would lie beyond the image is moved inside.
    """
    box: list[tuple[int, int]] = []
    for cell, cells, pixels in zip(seen.cell, grid, size, strict=True):
        step = pixels / cells
        length = min(pixels, max(1, round((1 + 2 * margin) * step)))
        start = round((cell + 0.5) * step - length / 2)
        start = min(max(start, 0), pixels - length)
        box.append((start, start + length))
    return box[0][0], box[1][0], box[0][1], box[1][1]


@torch.no_grad()
def shown(generator: Generator, audit: Audit, layer: str, unit: int) -> tuple[Tensor, Tensor]:
    """The images (k, 3, H, W) that a unit was most on for, and where it was on in them: (k, h, w) bool, its grid."""
    told = audit.layer(layer)
    tops = told.units[unit].top
    grid, settings = told.grid, audit.settings
    if not tops:
        return torch.zeros(0, 3, audit.resolution, audit.resolution), torch.zeros(0, *grid, dtype=torch.bool)
    world = World(settings["truncation"], settings["noise"])
    ws = world.styles(generator, settings["scoring"]["stream"], [seen.row for seen in tops])
    return generator.synthesize(ws=ws, noise=world.noise), torch.stack([seen.unpacked(grid) for seen in tops])
