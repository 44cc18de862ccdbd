"""What units cause: concepts that leave the image when units are silenced, or come when they are switched on.

Always the same latents with and without, and always beside units chosen by lot (Bau et al. 2020, "Understanding the
role of individual units in a deep neural network").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.progress import Progress, quiet
from rewrite.stats import PairedSums
from rewrite.units.counting import count, place
from rewrite.units.features import Site, World, batch_size, hold, passes, sites
from rewrite.units.grid import one_hot
from rewrite.units.surroundings import surroundings

CAUSING = 3
"""The stream that effects are measured on."""
SAMPLES = 256
MOST = 20
"""Units silenced at once, at most."""
CONTROLS = 3
"""How often as many units are chosen by lot."""


@dataclass(frozen=True)
class Effect:
    """What became of each concept, with and without, on the same latents; tuples go by concept."""

    units: tuple[int, ...]
    before: tuple[float, ...]
    """Share of all pixels."""
    after: tuple[float, ...]
    lost: tuple[float, ...]
    """before - after."""
    lost_error: tuple[float, ...]
    """Its standard error, the images being paired."""
    removed: tuple[float | None, ...]
    """lost / before: the share of the concept's pixels that is gone; None where there were none."""
    removed_error: tuple[float | None, ...]


@dataclass(frozen=True)
class Cause:
    """Effects of sets of units of one layer, beside sets of as many chosen by lot."""

    layer: str
    concepts: tuple[str, ...]
    images: int
    effects: tuple[Effect, ...]
    controls: tuple[tuple[Effect, ...], ...] = ()
    """For each draw its effects, in the order of `effects`."""

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return asdict(self)


def silenced(
    generator: Generator,
    layer: str,
    sets: Sequence[Sequence[int]],
    segmenter: Segmenter,
    *,
    samples: int = SAMPLES,
    controls: int = CONTROLS,
    seed: int = 0,
    world: World | None = None,
    cache: bool = False,
    progress: Progress = quiet,
) -> Cause:
    """The effect of each set of units at 0 everywhere, and of `controls` sets of as many others, for each.

    With `cache` it is kept as it grows: an interrupted measurement goes on from where it was.
    """
    site, how = _site(generator, layer, sets), world or World()
    lots = [by_lot(site.units, sets, seed + draw) for draw in range(controls)]
    every = [tuple(chosen) for chosen in (*sets, *(chosen for lot in lots for chosen in lot))]
    path = None
    if cache:
        asked = {"phase": "causes", "sets": sorted(set(every)), "rows": samples}
        path = place(surroundings(generator, {layer: site}, segmenter, how) | asked)
    measured = _effects(generator, site, sorted(set(every)), segmenter, samples, how, path, progress)
    effects = [measured[chosen] for chosen in every]
    number = len(sets)
    return Cause(
        layer,
        tuple(segmenter.classes),
        samples,
        tuple(effects[:number]),
        tuple(tuple(effects[first : first + number]) for first in range(number, len(effects), number)),
    )


def cumulative(
    generator: Generator,
    layer: str,
    ranked: Sequence[int],
    segmenter: Segmenter,
    *,
    most: int = MOST,
    **more: Any,
) -> Cause:
    """The effect of the first unit of a ranking, of the first two, and so on, each beside as many chosen by lot."""
    return silenced(generator, layer, [ranked[: i + 1] for i in range(min(most, len(ranked)))], segmenter, **more)


@dataclass(frozen=True)
class Insertion:
    """Units switched on in one cell of each image: how much more of a concept there is, by what was in that cell."""

    layer: str
    concept: str
    units: tuple[int, ...]
    gained: float
    """Mean gain, in shares of a cell's area: 1 is a whole cell."""
    error: float
    by_context: dict[str, tuple[float, float | None, int]]
    """For each concept that was in the middle of the cell: mean gain, its standard error, images."""
    controls: tuple[tuple[float, float], ...]
    """Gain and standard error of as many other units, chosen by lot."""


@torch.no_grad()
def inserted(
    generator: Generator,
    layer: str,
    units: Sequence[int],
    levels: Tensor,
    segmenter: Segmenter,
    concept: str,
    *,
    samples: int = SAMPLES,
    controls: int = CONTROLS,
    seed: int = 0,
    world: World | None = None,
    progress: Progress = quiet,
) -> Insertion:
    """The effect of units at their `levels` (one for each unit of the layer) in one cell of each image, by lot."""
    site, how = _site(generator, layer, [units]), world or World()
    at = concept_index(segmenter, concept)
    sets = [tuple(units), *(by_lot(site.units, [units], seed + draw)[0] for draw in range(controls))]
    cells = torch.randint(site.cells, (samples,), generator=torch.Generator().manual_seed(seed))
    gains, contexts = torch.zeros(len(sets), samples, dtype=torch.float64), torch.zeros(samples, dtype=torch.int64)
    for rows, held in passes(generator, site, CAUSING, samples, how, progress):
        before = label_maps(segmenter, held.images())
        here = cells[rows.start : rows.stop]
        where, size = only(here, site.grid), (before.shape[1], before.shape[2])
        contexts[rows.start : rows.stop] = _middle(before, here, site.grid)
        for i, chosen in enumerate(sets):
            images = held.images(held.replaced(chosen, levels[list(chosen)], where=where))
            more = (label_maps(segmenter, images) == at).sum((1, 2)) - (before == at).sum((1, 2))
            gains[i, rows.start : rows.stop] = more.double().cpu() * site.cells / (size[0] * size[1])
    means = [_mean(gain) for gain in gains]
    return Insertion(
        layer,
        concept,
        tuple(units),
        means[0][0],
        means[0][1] or 0.0,
        {
            name: (*_mean(gains[0, contexts == c]), int((contexts == c).sum()))
            for c, name in enumerate(segmenter.classes)
            if (contexts == c).any()
        },
        tuple((mean, error or 0.0) for mean, error in means[1:]),
    )


def only(cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps (N, h, w) that are 1 in one cell each, counted row by row, and 0 elsewhere."""
    return torch.zeros(len(cells), grid[0] * grid[1]).scatter(1, cells[:, None], 1.0).unflatten(1, grid)


def _effects(
    generator: Generator,
    site: Site,
    sets: Sequence[tuple[int, ...]],
    segmenter: Segmenter,
    samples: int,
    world: World,
    path: Path | None,
    progress: Progress,
) -> dict[tuple[int, ...], Effect]:
    concepts = len(segmenter.classes)

    def shares(images: Tensor) -> Tensor:
        return one_hot(label_maps(segmenter, images), concepts).mean((2, 3), dtype=torch.float64)

    @torch.no_grad()
    def step(sums: dict[str, PairedSums], block: range, part: slice) -> dict[str, PairedSums]:
        held = hold(generator, site, world.styles(generator, CAUSING, block), world.noise)
        before = shares(held.images())[part]
        return {
            name: sums[name].add(before, shares(held.images(held.replaced(units)))[part])
            for name, units in names.items()
        }

    names = {str(i): units for i, units in enumerate(sets)}
    empty = {name: PairedSums.empty(concepts) for name in names}
    batch = min(batch_size(generator, {site.layer.name: site}, concepts), samples)
    sums = count(empty, range(samples), batch, step, path=path, what=f"units of {site.layer.name}", progress=progress)
    return {units: _effect(units, sums[name]) for name, units in names.items()}


def _effect(units: tuple[int, ...], sums: PairedSums) -> Effect:
    return Effect(
        units,
        tuple((sums.before / sums.count).tolist()),
        tuple((sums.after / sums.count).tolist()),
        tuple(sums.lost.tolist()),
        tuple(sums.lost_error.tolist()),
        tuple(_known(sums.share)),
        tuple(_known(sums.share_error)),
    )


def _known(values: Tensor) -> list[float | None]:
    return [value if valid else None for value, valid in zip(values.tolist(), values.isfinite().tolist(), strict=True)]


def _mean(values: Tensor) -> tuple[float, float | None]:
    return float(values.mean()), float(values.std() / len(values) ** 0.5) if len(values) > 1 else None


def _middle(labels: Tensor, cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """The label (N,) in the middle of one cell of each map."""
    height, width = labels.shape[1:]
    rows = (cells // grid[1] * height + height // 2) // grid[0]
    columns = (cells % grid[1] * width + width // 2) // grid[1]
    return labels.cpu()[torch.arange(len(cells)), rows, columns]


def by_lot(units: int, sets: Sequence[Sequence[int]], seed: int) -> list[tuple[int, ...]]:
    """As many units as each set has, by lot, none of those in any set as long as there are others."""
    taken = {unit for chosen in sets for unit in chosen}
    order = torch.randperm(units, generator=torch.Generator().manual_seed(seed)).tolist()
    order.sort(key=lambda unit: unit in taken)
    return [tuple(order[: len(chosen)]) for chosen in sets]


def _site(generator: Generator, layer: str, sets: Sequence[Sequence[int]]) -> Site:
    (site,) = sites(generator, [layer]).values()
    if not sets:
        raise RewriteError(f"no units of layer {layer} were given; expected at least one from 0 to {site.units - 1}")
    for units in sets:
        if not units or not all(0 <= unit < site.units for unit in units) or len(set(units)) < len(units):
            raise RewriteError(f"units are {list(units)}; expected different ones from 0 to {site.units - 1}")
    return site


def concept_index(segmenter: Segmenter, concept: str) -> int:
    if concept not in segmenter.classes:
        raise RewriteError(f"the segmenter knows no {concept!r}; it knows {', '.join(segmenter.classes)}")
    return segmenter.classes.index(concept)
