"""The first phase: how each unit's values are spread, alone and under each concept, and the thresholds that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.generator import Generator
from rewrite.progress import Progress, quiet
from rewrite.stats import Bins, ChannelMoments, Histogram, information_quality
from rewrite.units.counting import count
from rewrite.units.features import Site, World, batch_size, run
from rewrite.units.grid import Grid, coverage, one_hot
from rewrite.units.protocol import CHOOSING, Protocol

COARSE = Bins(-16, 16, 4, signed=False)
"""Thresholds to choose from: 16 an octave. Where most of a unit's values are is told by one bin at and below zero."""
LEAST_TAIL = 1e-3
"""A threshold that a smaller share of a unit's values exceeds is none (Bau et al. 2019, "GAN Dissection")."""
LEAST_CONCEPT = 1e-3
"""Smallest share of cells that a concept needs to choose thresholds."""
LEAST_AGREEMENT = 0.8
"""Share of cells on which a unit and its concept must be both on or both off."""


@dataclass(frozen=True)
class LayerRanges:
    """Of one layer's units."""

    histogram: Histogram
    moments: ChannelMoments
    joint: Histogram | None
    """Rows are concept-major (concept, unit): values of cells where the concept covers most; None with no segmenter."""

    def merge(self, other: LayerRanges) -> LayerRanges:
        """Both together."""
        joint = None if self.joint is None or other.joint is None else self.joint.merge(other.joint)
        return LayerRanges(self.histogram.merge(other.histogram), self.moments.merge(other.moments), joint)


@dataclass(frozen=True)
class Ranges:
    """Of all layers, by name; parts of one measurement merge in any order."""

    layers: dict[str, LayerRanges]
    images: int

    @staticmethod
    def empty(found: Mapping[str, Site], concepts: int) -> Ranges:
        """`concepts` is 0 where thresholds are chosen without labels."""
        return Ranges(
            {
                name: LayerRanges(
                    Histogram.empty(site.units),
                    ChannelMoments.empty(site.units),
                    Histogram.empty(concepts * site.units, COARSE) if concepts else None,
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

    def step(state: Ranges, block: range, part: slice) -> Ranges:
        binned: dict[str, Tensor] = {}
        layers = dict(state.layers)

        def see(name: str, features: Tensor) -> None:
            here, before = protocol.at(features[part], size), layers[name]
            layers[name] = LayerRanges(before.histogram.add(here), before.moments.add(here), before.joint)
            if concepts:
                binned[name] = COARSE.index(here).short()

        images = run(generator, found, world.styles(generator, CHOOSING, block), world.noise, see)[part]
        if concepts:
            assert segmenter is not None
            labels = label_maps(segmenter, images)
            most = _most(labels, concepts, {(bins.shape[2], bins.shape[3]) for bins in binned.values()})
            for name, bins in binned.items():
                joint = layers[name].joint
                assert joint is not None
                layers[name] = LayerRanges(
                    layers[name].histogram,
                    layers[name].moments,
                    _under(joint, bins, most[bins.shape[2], bins.shape[3]]),
                )
        return Ranges(layers, state.images + len(images))

    return count(
        Ranges.empty(found, concepts), rows, batch_size(generator, found, concepts), step,
        path=path, what="ranges", progress=progress,
    )  # fmt: skip


def thresholds(ranges: Ranges, protocol: Protocol) -> dict[str, Tensor]:
    """For each layer the value (U,) float32 that a unit must exceed to be on."""
    chosen = {}
    for name, layer in ranges.layers.items():
        fixed = layer.histogram.quantile(1 - protocol.tail)
        best = fixed if layer.joint is None else _most_informative(layer.joint, len(fixed), fixed)
        chosen[name] = best.float()
    return chosen


def _most(labels: Tensor, concepts: int, grids: set[Grid]) -> dict[Grid, Tensor]:
    """The concept (N, h, w) that covers most of each cell of each grid."""
    planes = one_hot(labels, concepts)
    return {grid: labels if grid == labels.shape[1:] else coverage(planes, grid).argmax(1) for grid in grids}


def _under(joint: Histogram, bins: Tensor, concept: Tensor) -> Histogram:
    """With bins (N, U, h, w) counted in under the concept of each cell (N, h, w)."""
    units = bins.shape[1]
    rows = concept.int()[:, None] * units + torch.arange(units, dtype=torch.int32, device=bins.device)[:, None, None]
    size = joint.counts.numel()
    found = torch.bincount((rows * COARSE.count + bins).flatten(), minlength=size)
    return Histogram(joint.bins, joint.counts + found.cpu().view_as(joint.counts))


def _most_informative(joint: Histogram, units: int, otherwise: Tensor) -> Tensor:
    """Lower edges of the bins from which on a unit tells most of any one concept; `otherwise` where none may be."""
    counts = joint.counts.view(-1, units, COARSE.count)
    # Cells at or above each edge that is above zero: (C, U, edges).
    above = counts.flip(2).cumsum(2).flip(2)[:, :, 1:]
    total = int(counts.sum()) // units
    concepts = counts.sum(2)[:, :1]
    best = torch.full((units,), -1.0, dtype=torch.float64)
    chosen = otherwise.clone()
    edges = COARSE.edges[1:-1]
    on = above.sum(0)
    allowed = (on >= LEAST_TAIL * total) & (on < total)
    for both, concept in zip(above, concepts[:, 0], strict=True):
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
