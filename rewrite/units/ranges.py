"""The first phase: how each unit's values are spread, alone and under each concept, and the thresholds that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.generator import Generator
from rewrite.progress import Progress, quiet
from rewrite.stats import WIDE, Bins, ChannelMoments, Histogram, information_quality
from rewrite.units.counting import count
from rewrite.units.features import Site, World, batch_size, run
from rewrite.units.grid import Grid, one_hot, prevailing
from rewrite.units.protocol import CHOOSING, Protocol

COARSE = Bins(-16, 16, 4, signed=False)
"""Thresholds to choose from: 16 an octave. Where most of a unit's values are is told by one bin at and below zero."""
BLOCK = 8
"""Images that are counted in at once, at least."""
LEAST_TAIL = 1e-3
"""A threshold that a smaller share of a unit's values exceeds is none (Bau et al. 2019, "GAN Dissection")."""
LEAST_CONCEPT = 1e-3
"""Smallest share of cells that a concept needs to choose thresholds."""
LEAST_AGREEMENT = 0.8
"""Share of cells on which a unit and its concept must be both on or both off."""


@dataclass(frozen=True)
class Under:
    """Values of each unit under each concept, in the bins of `COARSE`; one that was never seen takes no room."""

    concepts: Tensor
    """(K,) int64, ascending: those that cover most of any cell."""
    counts: Tensor
    """(K, U, bins) int64."""

    @staticmethod
    def empty(units: int) -> Under:
        return Under(torch.zeros(0, dtype=torch.int64), torch.zeros(0, units, COARSE.count, dtype=torch.int64))

    def add(self, bins: Tensor, concept: Tensor) -> Under:
        """With bins (N, U, h, w) counted in under the concept (N, h, w) of each cell."""
        concepts, row = concept.unique(return_inverse=True)
        shape = len(concepts), bins.shape[1], COARSE.count
        unit = torch.arange(shape[1], dtype=torch.int32, device=bins.device)[:, None, None]
        places = (row.int()[:, None] * shape[1] + unit) * COARSE.count + bins
        found = torch.bincount(places.flatten(), minlength=shape[0] * shape[1] * shape[2])
        return self.merge(Under(concepts.cpu(), found.view(shape).cpu()))

    def merge(self, other: Under) -> Under:
        """Both together."""
        concepts = torch.cat([self.concepts, other.concepts]).unique()
        counts = self.counts.new_zeros(len(concepts), *self.counts.shape[1:])
        for one in (self, other):
            counts[torch.searchsorted(concepts, one.concepts)] += one.counts
        return Under(concepts, counts)


@dataclass(frozen=True)
class LayerRanges:
    """Of one layer's units."""

    histogram: Histogram
    moments: ChannelMoments
    under: Under | None
    """None with no segmenter."""

    def merge(self, other: LayerRanges) -> LayerRanges:
        """Both together."""
        under = None if self.under is None or other.under is None else self.under.merge(other.under)
        return LayerRanges(self.histogram.merge(other.histogram), self.moments.merge(other.moments), under)


@dataclass(frozen=True)
class Ranges:
    """Of all layers, by name; parts of one measurement merge in any order."""

    layers: dict[str, LayerRanges]
    images: int

    @staticmethod
    def empty(found: Mapping[str, Site], labelled: bool) -> Ranges:
        """`labelled` where thresholds are chosen by labels."""
        return Ranges(
            {
                name: LayerRanges(
                    Histogram.empty(site.units),
                    ChannelMoments.empty(site.units),
                    Under.empty(site.units) if labelled else None,
                )
                for name, site in found.items()
            },
            0,
        )

    def merge(self, other: Ranges) -> Ranges:
        """Both together."""
        merged = {name: layer.merge(other.layers[name]) for name, layer in self.layers.items()}
        return Ranges(merged, self.images + other.images)


def measure(
    generator: Generator,
    found: Mapping[str, Site],
    protocol: Protocol,
    segmenter: Segmenter | None,
    rows: range,
    *,
    world: World,
    path: Path | None = None,
    progress: Progress = quiet,
) -> Ranges:
    """Ranges over rows of the choosing stream, all layers in one pass of the generator; features are never kept."""
    concepts = len(segmenter.classes) if segmenter is not None and protocol.threshold == "iqr" else 0
    size = (generator.resolution,) * 2

    batch = batch_size(generator, found, concepts)

    def step(state: Ranges, block: range, part: slice) -> Ranges:
        layers, waiting = dict(state.layers), {name: _Waiting() for name in found}

        def see(name: str, features: Tensor) -> None:
            here = features[inside]
            layers[name] = replace(layers[name], moments=layers[name].moments.add(here))
            for piece in protocol.spread(here, size):
                if concepts:
                    waiting[name].coarse.append(COARSE.index(piece).short())
                waiting[name].wide.append(WIDE.index(piece))
                layers[name] = waiting[name].spread(layers[name])

        for first in range(0, len(block), batch):
            inside = slice(max(part.start - first, 0), min(part.stop - first, batch))
            if inside.start >= inside.stop:
                continue
            ws = world.styles(generator, CHOOSING, block[first : first + batch])
            images = run(generator, found, ws, world.noise, see)[inside]
            if segmenter is not None and concepts:
                labels = label_maps(segmenter, images)
                most = _most(labels, concepts, {protocol.grid(site.grid, size) for site in found.values()})
                for name, site in found.items():
                    waiting[name].concepts.append(most[protocol.grid(site.grid, size)])
                    layers[name] = waiting[name].labelled(layers[name])
        for name, heard in waiting.items():
            layers[name] = heard.labelled(heard.spread(layers[name], least=1), least=1)
        return Ranges(layers, state.images + part.stop - part.start)

    return count(
        Ranges.empty(found, concepts > 0), rows, max(batch, BLOCK), step, path=path, what="ranges", progress=progress
    )


@dataclass
class _Waiting:
    """Bins of values that are yet to be counted in: that costs a table's room each time, however few they are."""

    wide: list[Tensor] = field(default_factory=list)
    coarse: list[Tensor] = field(default_factory=list)
    concepts: list[Tensor] = field(default_factory=list)

    def spread(self, layer: LayerRanges, least: int | None = None) -> LayerRanges:
        """The layer with its values counted in, if there are `least`; else as many as the table has bins."""
        if sum(bins.numel() for bins in self.wide) < (least or layer.histogram.counts.numel()):
            return layer
        histogram = layer.histogram.add_bins(*self.wide)
        self.wide.clear()
        return replace(layer, histogram=histogram)

    def labelled(self, layer: LayerRanges, least: int | None = None) -> LayerRanges:
        """Likewise, under the concepts of their cells."""
        under, waiting = layer.under, sum(bins.numel() for bins in self.coarse)
        if under is None or waiting < (least or under.counts.numel()):
            return layer
        under = under.add(torch.cat(self.coarse), torch.cat(self.concepts))
        self.coarse.clear()
        self.concepts.clear()
        return replace(layer, under=under)


def thresholds(ranges: Ranges, protocol: Protocol) -> dict[str, Tensor]:
    """For each layer the value (U,) float32 that a unit must exceed to be on."""
    chosen = {}
    for name, layer in ranges.layers.items():
        fixed = layer.histogram.quantile(1 - protocol.tail)
        best = fixed if layer.under is None else _most_informative(layer.under, fixed)
        chosen[name] = best.float()
    return chosen


def _most(labels: Tensor, concepts: int, grids: set[Grid]) -> dict[Grid, Tensor]:
    """The concept (N, h, w) that covers most of each cell of each grid."""
    planes = one_hot(labels, concepts)
    return {grid: labels if grid == labels.shape[1:] else prevailing(planes, grid) for grid in grids}


def _above(counts: Tensor) -> Tensor:
    """Cells at or above each edge that is above zero, (..., edges), of counts (..., bins)."""
    return counts.flip(-1).cumsum(-1).flip(-1)[..., 1:]


def _most_informative(under: Under, otherwise: Tensor) -> Tensor:
    """Lower edges of the bins from which on a unit tells most of any one concept; `otherwise` where none may be."""
    units = len(otherwise)
    total = int(under.counts.sum()) // units
    best = torch.full((units,), -1.0, dtype=torch.float64)
    chosen = otherwise.clone()
    edges = COARSE.edges[1:-1]
    on = _above(under.counts.sum(0))
    allowed = (on >= LEAST_TAIL * total) & (on < total)
    for counts in under.counts:
        both, concept = _above(counts), counts[0].sum()
        if concept < LEAST_CONCEPT * total:
            continue
        agreement = (total - on - concept + 2 * both).double() / total
        quality = information_quality(both, on, concept.expand_as(on), total)
        # Only units that are on where the concept is, not those that are on where it is not.
        together = both.double() * total > on.double() * concept
        quality = torch.where(allowed & together & (agreement > LEAST_AGREEMENT), quality, -1.0)
        value, at = quality.max(1)
        chosen = torch.where(value > best, edges[at], chosen)
        best = torch.maximum(best, value)
    # A value on the edge itself is above it.
    found = best >= 0
    return torch.where(found, torch.nextafter(chosen.float(), torch.tensor(-torch.inf)).double(), otherwise)
