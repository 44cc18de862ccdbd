"""Sets of units found by optimisation: the few that take a concept away where it is and bring it where it could be.

Each unit has a coefficient alpha in [0, 1] that blends it towards 0 where the concept is, and towards its usual value
under the concept where that could be (Bau et al. 2019, "GAN Dissection", section 3.2). Each of the two is read out in
the cell that was changed; the published code reads both in the first one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.concepts import logits as class_logits
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.progress import Progress, quiet
from rewrite.units.cause import concept_index, only
from rewrite.units.features import Held, Site, World, hold, passes, sites
from rewrite.units.grid import cell_area, coverage, one_hot

ERASING = 10
INSERTING = 11
"""Streams of images that the concept is taken from, and brought to."""
TRIES = 5
"""Cells of each image that the concept could be brought to."""
PENALTY = 0.005
"""Of the sum of alpha^2."""
RATE = 0.01
STEPS = 200
PAIRS = 16
"""Pairs of images in a step."""


@dataclass(frozen=True)
class Places:
    """Images, each with one cell: rows of a stream and cells counted row by row."""

    stream: int
    rows: tuple[int, ...]
    cells: tuple[int, ...]


@dataclass(frozen=True)
class Optimised:
    """Coefficients of all units of a layer for one concept."""

    layer: str
    concept: str
    alpha: tuple[float, ...]
    level: tuple[float, ...]
    """Mean value of each unit where the concept is: what it is drawn to where the concept is brought."""
    erase: Places
    insert: Places
    losses: tuple[float, ...]
    """At every step: probability of the concept where it is erased less that where it is inserted, and the penalty."""

    @property
    def ranked(self) -> list[int]:
        """Units, those of the largest coefficient first."""
        return sorted(range(len(self.alpha)), key=lambda unit: (-self.alpha[unit], unit))


def optimise(
    generator: Generator,
    layer: str,
    segmenter: Segmenter,
    concept: str,
    *,
    start: Tensor | None = None,
    samples: int = 1_000,
    keep: int = 128,
    steps: int = STEPS,
    penalty: float = PENALTY,
    rate: float = RATE,
    seed: int = 0,
    world: World | None = None,
    progress: Progress = quiet,
) -> Optimised:
    """The units of a layer that cause a concept, together.

    Of `samples` images of each kind the `keep` best are optimised on. `start` (U,), of which the largest becomes 1, is
    where the coefficients begin: IoU with the concept, say; 0.5 if None. RewriteError where the concept is never seen.
    """
    (site,) = sites(generator, [layer]).values()
    how, at = world or World(), concept_index(segmenter, concept)
    erase, level, popular = _where_it_is(generator, site, segmenter, at, samples, keep, how, progress)
    insert = _where_it_could_be(generator, site, segmenter, at, samples, keep, how, level, popular, seed, progress)
    alpha = torch.full((site.units,), 0.5) if start is None else start.float() / start.max().clamp(min=1e-12)
    alpha = alpha.clamp(0, 1).to(generator.device).requires_grad_(True)
    adam = torch.optim.Adam([alpha], lr=rate)
    lot, losses = torch.Generator().manual_seed(seed), []
    for step in range(steps):
        progress("optimisation", step, steps)
        adam.zero_grad()
        loss = penalty * alpha.square().sum()
        for places, sign in ((erase, 1), (insert, -1)):
            held, cells = _draw(generator, site, places, how, lot)
            found = probability(held, cells, alpha, level if places is insert else None, segmenter, at)
            loss = loss + sign * found.mean()
        (alpha.grad,) = torch.autograd.grad(loss, [alpha])
        adam.step()
        with torch.no_grad():
            alpha.clamp_(0, 1)
        losses.append(float(loss.detach()))
    progress("optimisation", steps, steps)
    return Optimised(layer, concept, tuple(alpha.tolist()), tuple(level.tolist()), erase, insert, tuple(losses))


def probability(
    held: Held, cells: Tensor, alpha: Tensor, level: Tensor | None, segmenter: Segmenter, concept: int
) -> Tensor:
    """Probability (N,) of the concept in one cell of each image, its units there blended with 0, or with `level`."""
    where = only(cells, held.site.grid).to(held.features)
    units = torch.arange(held.site.units, device=held.features.device)
    value = torch.zeros_like(alpha) if level is None else level.to(alpha)
    images = held.images(held.replaced(units, value, amount=alpha, where=where))
    chance = class_logits(segmenter, images).softmax(1)[:, [concept]]
    size = chance.shape[2], chance.shape[3]
    pooled = coverage(chance, held.site.grid)[:, 0] / cell_area(held.site.grid, size)
    return (pooled * where).sum((1, 2))


@torch.no_grad()
def _where_it_is(
    generator: Generator,
    site: Site,
    segmenter: Segmenter,
    concept: int,
    samples: int,
    keep: int,
    world: World,
    progress: Progress,
) -> tuple[Places, Tensor, Tensor]:
    """Images with the cell that a concept covers most; each unit's mean where it is; how much it covers each cell."""
    best, at = torch.zeros(samples), torch.zeros(samples, dtype=torch.int64)
    level, popular = torch.zeros(site.units, dtype=torch.float64), torch.zeros(site.cells, dtype=torch.float64)
    for rows, held in passes(generator, site, ERASING, samples, world, progress):
        covered = _covered(held, held.images(), segmenter, concept)
        best[rows.start : rows.stop], at[rows.start : rows.stop] = (each.cpu() for each in covered.max(1))
        level += torch.einsum("nup,np->u", held.site.inside(held.features).flatten(2).double(), covered.double()).cpu()
        popular += covered.double().sum(0).cpu()
    if not popular.any():
        raise RewriteError(
            f"{segmenter.classes[concept]!r} is in none of {samples} images; expected a concept that the generator "
            f"makes, so look at more of them or take another"
        )
    return _kept(ERASING, best, at, keep), level / popular.sum(), popular


@torch.no_grad()
def _where_it_could_be(
    generator: Generator,
    site: Site,
    segmenter: Segmenter,
    concept: int,
    samples: int,
    keep: int,
    world: World,
    level: Tensor,
    popular: Tensor,
    seed: int,
    progress: Progress,
) -> Places:
    """Images with the cell, of a few tried, in which all units at their level bring most of what was not there."""
    lot = torch.Generator().manual_seed(seed)
    weights = popular + 0.1 * popular.mean()
    best, at = torch.full((samples,), -torch.inf), torch.zeros(samples, dtype=torch.int64)
    units = torch.arange(site.units)
    for rows, held in passes(generator, site, INSERTING, samples, world, progress):
        before = _covered(held, held.images(), segmenter, concept)
        tried = torch.multinomial(weights.expand(len(before), -1), min(TRIES, site.cells), generator=lot)
        for cells in tried.T:
            where = only(cells, site.grid).to(held.features)
            images = held.images(held.replaced(units, level, where=where))
            gain = (_covered(held, images, segmenter, concept) - before).sum(1).cpu()
            there = before.cpu().gather(1, cells[:, None])[:, 0] > 0
            gain = gain.masked_fill(there, -torch.inf)
            better = gain > best[rows.start : rows.stop]
            best[rows.start : rows.stop] = torch.where(better, gain, best[rows.start : rows.stop])
            at[rows.start : rows.stop] = torch.where(better, cells, at[rows.start : rows.stop])
    if not best.isfinite().any():
        raise RewriteError(
            f"{segmenter.classes[concept]!r} is wherever it was tried to be brought; look at more images"
        )
    return _kept(INSERTING, best, at, keep)


def _covered(held: Held, images: Tensor, segmenter: Segmenter, concept: int) -> Tensor:
    """Share (N, cells) of each cell that the concept covers."""
    planes = one_hot(label_maps(segmenter, images), len(segmenter.classes))[:, [concept]]
    area = cell_area(held.site.grid, (planes.shape[2], planes.shape[3]))
    return coverage(planes, held.site.grid)[:, 0].flatten(1) / area


def _kept(stream: int, score: Tensor, cells: Tensor, keep: int) -> Places:
    """The images of the highest scores, as far as there are any."""
    order = [row for row in score.argsort(descending=True, stable=True).tolist() if score[row] > 0][:keep]
    order = order or [int(score.argmax())]
    return Places(stream, tuple(order), tuple(int(cells[row]) for row in order))


def _draw(generator: Generator, site: Site, places: Places, world: World, lot: torch.Generator) -> tuple[Held, Tensor]:
    chosen = torch.randint(len(places.rows), (min(PAIRS, len(places.rows)),), generator=lot).tolist()
    ws = world.styles(generator, places.stream, [places.rows[i] for i in chosen])
    return hold(generator, site, ws, world.noise), torch.tensor([places.cells[i] for i in chosen])
