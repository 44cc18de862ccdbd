"""What the units of layers do: all layers in one pass, and a pass gone on with units replaced.

A unit is a channel of what leaves a layer, after all that follows it in its stage. Where several layers share a stage,
as in a wrapped network, it is a channel of what the layer's module returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite import hooks
from rewrite.errors import RewriteError
from rewrite.generator import MAPPING, Flow, Generator, Layer, Noise
from rewrite.latents import Row
from rewrite.memory import maps
from rewrite.progress import Progress
from rewrite.units.margins import margins

COLOURS = 3
"""A layer of no more channels than these is the image itself, and has no units."""
ROOM = 2**25
"""Unit cells, pixels and labels of pixels looked at in one batch."""
MOST = 32
"""Images in a batch, at most."""


@dataclass(frozen=True)
class Site:
    """Where the units of a layer are read."""

    layer: Layer
    alone: bool
    """It has a stage to itself: units leave the stage. Else they leave the module."""
    units: int
    grid: tuple[int, int]
    """Cells over the image, height and width."""
    margin: int = 0
    """Cells beyond the image, on each side."""

    @property
    def cells(self) -> int:
        return self.grid[0] * self.grid[1]

    def inside(self, features: Tensor) -> Tensor:
        """Features over the image, without the margin."""
        (height, width), margin = self.grid, self.margin
        return features[..., margin : margin + height, margin : margin + width] if margin else features


@dataclass(frozen=True)
class World:
    """Which images are natural: rows of a stream, truncation and noise."""

    truncation: float = 1.0
    noise: Noise = "const"

    def styles(self, generator: Generator, stream: int, rows: Iterable[int]) -> Tensor:
        """ws of rows of a stream, going round the classes of a conditional model."""
        rows = list(rows)
        label = [row % generator.classes for row in rows] if generator.classes else None
        z = generator.latents(Row(stream, row) for row in rows)
        return generator.styles(z, truncation=self.truncation, label=label)


@torch.no_grad()
def sites(generator: Generator, names: Iterable[str] | None = None) -> dict[str, Site]:
    """Sites of the layers of those names, in the network's order; None is every layer whose units are feature maps.

    RewriteError for a layer that is not there, maps latents, or makes the image itself.
    """
    wanted = None if names is None else [generator.layer(name).name for name in names]
    found = _look(generator, World().styles(generator, 0, [0]))
    if wanted is None:
        wanted = [name for name, site in found.items() if site.cells > 1 and site.layer.kind != "linear"]
    if not wanted:
        raise RewriteError(
            f"no layers were given, or none has feature maps; layers with units are {', '.join(found) or 'none at all'}"
        )
    for name in wanted:
        if name not in found:
            raise RewriteError(
                f"layer {name} has no units: it maps latents, or makes the image; layers with units are "
                f"{', '.join(found)}"
            )
    return {name: site for name, site in found.items() if name in wanted}


def batch_size(generator: Generator, found: Mapping[str, Site], concepts: int = 0) -> int:
    """Images in a batch: a power of two that hangs on what is looked at alone: all parts of an audit share it."""
    pixels = (COLOURS + concepts) * generator.resolution**2
    room = ROOM // (pixels + sum(site.units * site.cells for site in found.values()))
    return min(MOST, 1 << max(room, 1).bit_length() - 1)


@torch.no_grad()
def run(
    generator: Generator, found: Mapping[str, Site], ws: Tensor, noise: Noise, see: Callable[[str, Tensor], None]
) -> Tensor:
    """Images (N, 3, H, W) of ws; on the way `see` is given each layer's name and features (N, units, h, w).

    Features are those over the image, without a margin.
    """
    stages = {site.layer.stage: name for name, site in found.items() if site.alone}
    modules = {name: site.layer.module for name, site in found.items() if not site.alone}
    with hooks.overhear(modules, lambda name, output: see(name, found[name].inside(maps(output)))):
        flow: Flow | None = None
        for stage, flow in enumerate(generator.flows(ws=ws, noise=noise)):
            if stage in stages:
                assert flow.features is not None
                see(stages[stage], found[stages[stage]].inside(flow.features))
    assert flow is not None
    return generator.finish(flow, stage + 1)


@dataclass(frozen=True)
class Held:
    """A pass held where a layer's units leave it: `features` (N, units, h, w), the margin with them."""

    generator: Generator
    site: Site
    flow: Flow
    features: Tensor

    def replaced(
        self,
        units: Tensor | Sequence[int],
        value: Tensor | float = 0.0,
        *,
        amount: Tensor | float = 1.0,
        where: Tensor | None = None,
    ) -> Tensor:
        """Its features with units drawn towards a value: see `replaced`; `where` is over the image (N, h, w)."""
        if where is not None and self.site.margin:
            where = F.pad(where, (self.site.margin,) * 4)
        return replaced(self.features, units, value, amount=amount, where=where)

    def images(self, features: Tensor | None = None) -> Tensor:
        """Images of what comes after, on `features` in place of its own. Gradients flow where they are asked for."""
        features = self.features if features is None else features
        layer = self.site.layer
        if self.site.alone:
            return self.generator.finish(self.flow.to(features=features), layer.stage + 1)
        shaped = features.flatten(1) if layer.kind == "linear" else features
        with hooks.replace_output(layer.module, shaped):
            return self.generator.finish(self.flow, layer.stage)


@torch.no_grad()
def hold(generator: Generator, site: Site, ws: Tensor, noise: Noise = "const") -> Held:
    """The pass of ws, held at a site."""
    layer = site.layer
    flows = islice(generator.flows(ws=ws, noise=noise), layer.stage + site.alone)
    (flow,) = deque(chain([generator.begin(ws=ws, noise=noise)], flows), maxlen=1)
    if site.alone:
        assert flow.features is not None
        return Held(generator, site, flow, flow.features)
    heard: list[Tensor] = []
    with hooks.overhear({layer.name: layer.module}, lambda _name, output: heard.append(output.clone())):
        generator.finish(flow, layer.stage)
    return Held(generator, site, flow, maps(heard[0]))


def passes(
    generator: Generator, site: Site, stream: int, samples: int, world: World, progress: Progress
) -> Iterator[tuple[range, Held]]:
    """Rows 0 to samples - 1 of a stream, batch by batch, held at a site."""
    batch = batch_size(generator, {site.layer.name: site})
    for first in range(0, samples, batch):
        progress("images", first, samples)
        rows = range(first, min(first + batch, samples))
        yield rows, hold(generator, site, world.styles(generator, stream, rows), world.noise)
    progress("images", samples, samples)


def replaced(
    features: Tensor,
    units: Tensor | Sequence[int],
    value: Tensor | float = 0.0,
    *,
    amount: Tensor | float = 1.0,
    where: Tensor | None = None,
) -> Tensor:
    """Features with units drawn towards a value: (1 - amount * where) T + amount * where * value.

    `value` and `amount` are numbers or one for each of the units (n,); `where` (N, h, w) or (h, w) in [0, 1] is
    everywhere if None.
    """
    units = torch.as_tensor(units, device=features.device)
    part = features[:, units]
    value, amount = (_column(each, part) for each in (value, amount))
    if where is not None:
        amount = amount * (where[:, None] if where.ndim == 3 else where).to(part)
    blended = part + amount * (value - part)
    # An index of all units in order would be a copy; index_copy keeps the gradient of both.
    return features.index_copy(1, units, blended.to(features.dtype))


def _column(value: Tensor | float, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)


def _look(generator: Generator, ws: Tensor) -> dict[str, Site]:
    """Every layer that has units, by one pass."""
    layers = [layer for layer in generator.layers.values() if layer.stage != MAPPING]
    stages = [layer.stage for layer in layers]
    lone = {layer.stage: layer for layer in layers if stages.count(layer.stage) == 1}
    shared = {layer.name: layer.module for layer in layers if layer.stage not in lone}
    outputs: dict[str, list[Tensor]] = {}
    sites: dict[str, Site] = {}
    before: Tensor | None = None
    with hooks.overhear(shared, lambda name, output: outputs.setdefault(name, []).append(output)):
        for stage, flow in enumerate(generator.flows(ws=ws)):
            features = flow.features
            if stage in lone and features is not None and features is not before:
                sites[lone[stage].name] = _site(lone[stage], True, features, lone[stage].unit_margin)
            before = features
    if before is flow.image:
        sites.pop(lone[stage].name, None)
    beyond = margins(
        generator, {name: part for name, part in shared.items() if generator.layers[name].kind != "linear"}
    )
    for name, seen in outputs.items():
        # A module that runs twice has no one output, and one that mixes images none for each.
        if len(seen) == 1 and len(seen[0]) == len(ws) and seen[0].ndim in (2, 4):
            layer = generator.layers[name]
            sites[name] = _site(layer, False, maps(seen[0]), layer.out_margin or beyond.get(name, 0))
    return {layer.name: sites[layer.name] for layer in layers if layer.name in sites and _is_hidden(sites[layer.name])}


def _is_hidden(site: Site) -> bool:
    return site.alone or site.units > COLOURS


def _site(layer: Layer, alone: bool, features: Tensor, margin: int) -> Site:
    height, width = features.shape[2] - 2 * margin, features.shape[3] - 2 * margin
    return Site(layer, alone, features.shape[1], (height, width), margin)
