"""The second phase: where units are on beside where concepts are, in whole numbers, and what each unit was most on for.

Counts need the same memory for any number of images. Chance is judged by the maps of a bounded number of images, the
first ones of the stream: see `rewrite.units.chance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import edits
from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.generator import Generator
from rewrite.progress import Progress, quiet
from rewrite.stats import Overlaps, PairedSums, Top
from rewrite.units.counting import count
from rewrite.units.features import Site, World, batch_size, run
from rewrite.units.grid import Grid, beneath, cell_area, coverage, lengths, one_hot, pieces
from rewrite.units.protocol import SCORING, Protocol

FINEST = 32
"""Cells a side of the maps by which chance is judged, at most; finer layers are pooled to these."""
WITNESSES = 256
"""Images by which chance is judged, at most."""
WITNESS_BYTES = 2**28
"""What their maps may take."""
TOP = 8
"""Images a unit is most on for that are kept."""

Worlds = Sequence[tuple[edits.Edit, float | None]]


@dataclass(frozen=True)
class LayerScores:
    """Of one layer's units."""

    overlaps: Overlaps | None
    """None where there is no segmenter."""
    on: Tensor
    """Cells (U,) int64 that are on."""
    cells: int
    """Cells that there are, of one unit."""
    top: Top
    """By largest value in an image; the payload is the cell and then the mask of what is on, packed bits, uint8."""
    witnesses: Tensor
    """(M, U, P) uint8: cells that are on within each cell of the grid that chance is judged on, of the first M rows."""
    grid: str
    """The grid that chance is judged on, "h x w"."""
    fine: Grid
    """The grid that units and concepts meet on."""

    def merge(self, other: LayerScores) -> LayerScores:
        """Both together."""
        return replace(
            self,
            overlaps=None if self.overlaps is None or other.overlaps is None else self.overlaps.merge(other.overlaps),
            on=self.on + other.on,
            cells=self.cells + other.cells,
            top=self.top.merge(other.top),
            # A row is counted in one of the two, and nought in the other.
            witnesses=self.witnesses + other.witnesses,
        )


@dataclass(frozen=True)
class Scores:
    """Of all layers, by name, on one set of weights; parts of one measurement merge in any order."""

    layers: dict[str, LayerScores]
    labels: dict[str, Tensor]
    """By grid ("h x w"): areas of concepts in its cells, (M, C, P) int32, of the first M rows."""
    images: int

    def merge(self, other: Scores) -> Scores:
        """Both together."""
        return Scores(
            {name: layer.merge(other.layers[name]) for name, layer in self.layers.items()},
            {grid: maps + other.labels[grid] for grid, maps in self.labels.items()},
            self.images + other.images,
        )


@dataclass(frozen=True)
class Comparison:
    """Scores on the weights as they are, and, where edits are asked about, on the edited ones, seed by seed."""

    base: Scores
    edited: Scores | None
    areas: PairedSums
    """Share of each image that each concept covers, before and after (C,)."""
    switched: dict[str, Tensor] = field(default_factory=dict)
    """Under the edits: cells (U,) int64 of each layer where the unit is on before or after, and not both."""

    def merge(self, other: Comparison) -> Comparison:
        """Both together."""
        edited = None if self.edited is None or other.edited is None else self.edited.merge(other.edited)
        switched = {name: cells + other.switched[name] for name, cells in self.switched.items()}
        return Comparison(self.base.merge(other.base), edited, self.areas.merge(other.areas), switched)


def witness_grid(grid: Grid) -> Grid:
    """The grid that chance is judged on: the layer's own, or the finest one that it can be pooled to by whole cells."""
    return tuple(side // _pooled(side) for side in grid)  # type: ignore[return-value]


def witness_count(found: Mapping[str, Site], protocol: Protocol, size: Grid) -> int:
    """Images by which chance is judged; it hangs on the sites alone, so that parts of an audit share it."""
    each = sum(
        site.units * grid[0] * grid[1]
        for site in found.values()
        for grid in [witness_grid(protocol.grid(site.grid, size))]
    )
    return max(min(WITNESSES, WITNESS_BYTES // max(each, 1)), 2)


def score(
    generator: Generator,
    found: Mapping[str, Site],
    protocol: Protocol,
    thresholds: Mapping[str, Tensor],
    segmenter: Segmenter | None,
    rows: range,
    *,
    world: World,
    changes: Worlds = (),
    path: Path | None = None,
    progress: Progress = quiet,
) -> Comparison:
    """Scores over rows of the scoring stream, all layers in one pass of the generator; features are never kept."""
    size = (generator.resolution,) * 2
    concepts = 0 if segmenter is None else len(segmenter.classes)
    witnesses = witness_count(found, protocol, size) if concepts else 0

    def look(scores: Scores, block: range, part: slice) -> tuple[Scores, Tensor, dict[str, Tensor]]:
        peaks: dict[str, tuple[Tensor, Tensor]] = {}
        on: dict[str, Tensor] = {}

        def see(name: str, features: Tensor) -> None:
            here, limit = features[part], thresholds[name].to(features)[:, None, None]
            on[name] = torch.cat([piece > limit for piece in protocol.spread(here, size)])
            peak, cell = here.flatten(2).max(2)
            peaks[name] = peak, beneath(cell, found[name].grid, scores.layers[name].fine)

        ws = world.styles(generator, SCORING, block)
        images = run(generator, found, ws, world.noise, see)[part]
        first = block[part][0]
        shares, planes = torch.zeros(len(images), 0), None
        if segmenter is not None:
            planes = one_hot(label_maps(segmenter, images), concepts)
            shares, planes = planes.mean((2, 3), dtype=torch.float64), protocol.meeting(planes, size)
        areas = None if planes is None else {one.fine: _areas(planes, one.fine) for one in scores.layers.values()}
        layers = {name: _seen(one, first, on[name], *peaks[name], areas) for name, one in scores.layers.items()}
        if planes is not None and first < witnesses:
            for grid, maps in scores.labels.items():
                _mark(maps, first, planes, grid)
        return Scores(layers, scores.labels, scores.images + len(images)), shares, on

    def step(state: Comparison, block: range, part: slice) -> Comparison:
        base, before, on = look(state.base, block, part)
        if state.edited is None:
            return Comparison(base, None, state.areas.add(before, before))
        with edits.applied(generator.module, *changes):
            edited, after, still = look(state.edited, block, part)
        switched = {
            name: cells + (on[name] ^ still[name]).sum((0, 2, 3)).cpu() for name, cells in state.switched.items()
        }
        return Comparison(base, edited, state.areas.add(before, after), switched)

    beginning = Comparison(_empty(found, protocol, size, concepts, witnesses), None, PairedSums.empty(concepts))
    if changes:
        none = {name: torch.zeros(site.units, dtype=torch.int64) for name, site in found.items()}
        edited = _empty(found, protocol, size, concepts, witnesses)
        beginning = replace(beginning, edited=edited, switched=none)
    batch = batch_size(generator, found, concepts)
    return count(beginning, rows, batch, step, path=path, what="scores", progress=progress)


def unpacked(payload: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Cells (..., 2) as row and column, and masks (..., h, w) bool, of the payload of a `Top`."""
    head, bits = payload[..., :4].contiguous(), payload[..., 4:]
    cell = head.view(torch.int32)[..., 0].long()
    cells = np.unpackbits(bits.numpy(), axis=-1, count=grid[0] * grid[1])
    mask = torch.from_numpy(cells).bool().unflatten(-1, grid)
    return torch.stack([cell // grid[1], cell % grid[1]], -1), mask


def _empty(found: Mapping[str, Site], protocol: Protocol, size: Grid, concepts: int, witnesses: int) -> Scores:
    layers, labels = {}, {}
    for name, site in found.items():
        grid = protocol.grid(site.grid, size)
        coarse = witness_grid(grid)
        places = coarse[0] * coarse[1]
        title = f"{coarse[0]} x {coarse[1]}"
        layers[name] = LayerScores(
            Overlaps.empty(site.units, concepts) if concepts else None,
            torch.zeros(site.units, dtype=torch.int64),
            0,
            Top.empty(site.units, TOP, (4 + -(-grid[0] * grid[1] // 8),), torch.uint8),
            torch.zeros(witnesses, site.units, places, dtype=torch.uint8),
            title,
            grid,
        )
        labels[title] = torch.zeros(witnesses, concepts, places, dtype=torch.int32)
    return Scores(layers, labels, 0)


def _areas(planes: Tensor, grid: Grid) -> tuple[Tensor, int]:
    """Area of each concept in each cell (N, C, P), and that of a cell."""
    return coverage(planes, grid).flatten(2), cell_area(grid, (planes.shape[2], planes.shape[3]))


def _seen(
    before: LayerScores,
    first: int,
    on: Tensor,
    peak: Tensor,
    cell: Tensor,
    areas: Mapping[Grid, tuple[Tensor, int]] | None,
) -> LayerScores:
    """With a batch counted in: `on` (N, U, h, w), and each unit's peak and its cell (N, U), in rows from `first` on."""
    images, _, height, width = on.shape
    overlaps, witnesses = before.overlaps, before.witnesses
    if areas is not None and overlaps is not None:
        covered, area = areas[before.fine]
        overlaps = overlaps.add(on.flatten(2), covered, area)
        lit = overlaps.units // area
    else:
        lit = before.on + _counted(on)
    if first < len(witnesses):
        kept = on[: len(witnesses) - first]
        # In place: what is written again after an interruption is the same.
        witnesses[first : first + len(kept)] = _pool(kept)
    index = torch.arange(first, first + images)
    return replace(
        before,
        overlaps=overlaps,
        on=lit,
        cells=before.cells + images * height * width,
        top=_topped(before.top, index, on, peak.T.cpu(), cell.T.cpu()),
        witnesses=witnesses,
    )


def _counted(on: Tensor) -> Tensor:
    """Cells (U,) int64 that are on."""
    height, width = on.shape[2:]
    # Floating point adds faster, and exactly within one image.
    found = [piece.float().sum((2, 3)) for piece in pieces(on, height * width)]
    return torch.cat(found).cpu().sum(0, dtype=torch.float64).long()


def _topped(top: Top, index: Tensor, on: Tensor, peak: Tensor, cell: Tensor) -> Top:
    """The table with peaks (U, N) of images; a batch without one that enters it costs no masks."""
    enters = top.admits(peak)
    if not enters.any():
        return top
    payload = torch.zeros(*peak.shape, top.payload.shape[2], dtype=torch.uint8)
    units, images = enters.nonzero(as_tuple=True)
    head = cell[units, images].int().contiguous()[:, None].view(torch.uint8)
    bits = np.packbits(on[images.to(on.device), units.to(on.device)].flatten(1).cpu().numpy(), axis=1)
    payload[units, images] = torch.cat([head, torch.from_numpy(bits)], 1)
    return top.add(peak.masked_fill(~enters, -torch.inf), index, payload)


def _mark(maps: Tensor, first: int, planes: Tensor, grid: str) -> None:
    height, width = map(int, grid.split(" x "))
    areas = coverage(planes[: len(maps) - first], (height, width)).flatten(2).int().cpu()
    maps[first : first + len(areas)] = areas


def _pool(on: Tensor) -> Tensor:
    """Cells that are on within each cell of the witness grid, (N, U, P) uint8; more than 255 are 255."""
    grid = on.shape[2], on.shape[3]
    coarse = witness_grid(grid)
    if coarse == grid:
        return on.flatten(2).to(torch.uint8).cpu()
    rows, columns = (lengths(*sides).to(on.device) for sides in zip(coarse, grid, strict=True))
    found = [rows @ (piece.float() @ columns.T) for piece in pieces(on, grid[0] * grid[1])]
    return torch.cat(found).clamp(max=255).flatten(2).to(torch.uint8).cpu()


def _pooled(side: int) -> int:
    """The least whole number of cells that, taken together, leave at most FINEST a side."""
    return next(window for window in range(1, side + 1) if side % window == 0 and side // window <= FINEST)
