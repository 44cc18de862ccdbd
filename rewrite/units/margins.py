"""Cells of a wrapped network's feature maps that lie beyond its images, as a network's that crops what it made.

Nothing says so but the network itself: two patches of an image hang on two places of a feature map, and how far these
are apart tells how many cells the image spans.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from rewrite import hooks
from rewrite.generator import Generator
from rewrite.latents import Row

PLACES = (0.25, 0.75)
"""Middles of the patches, as shares of the image's sides."""
EACH = 8
"""Images."""
REACH = 0.0625
"""From a patch's middle to its border, likewise."""
CUT = 0.01
"""With a larger share of what a patch hangs on at the map's border, there is more beyond: its middle tells nothing."""
OFF = 1.0
"""Cells that the sides may differ by: more, and what is cropped is no margin."""


@torch.no_grad()
def margins(generator: Generator, modules: Mapping[str, nn.Module]) -> dict[str, int]:
    """Cells on each side of each module's maps; 0 where nothing is found. Images are made one by one."""
    if not modules:
        return {}
    found: dict[str, list[Tensor]] = {name: [] for name in modules}
    for place in PLACES:
        weights = [_hung_on(generator, modules, Row(0, row), place) for row in range(EACH)]
        for name, all_of_it in found.items():
            parts = [weight[name] for weight in weights if name in weight]
            all_of_it += [torch.stack(parts).sum(0)] if len(parts) == EACH else []
    return {name: _margin(torch.stack(both)) if len(both) == len(PLACES) else 0 for name, both in found.items()}


def _hung_on(generator: Generator, modules: Mapping[str, nn.Module], row: Row, place: float) -> dict[str, Tensor]:
    """How much the patch at a place of one image hangs on each cell (h, w) of each module's maps: shares, float64."""
    slopes: dict[str, Tensor] = {}

    def hear(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.requires_grad:
            output.register_hook(lambda slope: slopes.__setitem__(name, slope.detach()))

    ws = generator.styles(generator.latents([row]), label=[0] if generator.classes else None)
    with torch.enable_grad(), hooks.overhear(modules, hear):
        leaf = ws.detach().clone().requires_grad_()
        image = generator.synthesize(ws=leaf)
        signs = torch.randint(2, image.shape, generator=torch.Generator().manual_seed(row.row)) * 2.0 - 1
        told = (image * signs.to(image) * _patch(image, place)).sum()
        with suppress(RuntimeError):  # A network that nothing can be differentiated through tells nothing.
            torch.autograd.grad(told, leaf)
    weights = {name: slope[0].double().square().sum(0).cpu() for name, slope in slopes.items()}
    # No image counts for more than another.
    return {name: weight / weight.sum() for name, weight in weights.items() if weight.sum() > 0}


def _patch(image: Tensor, place: float) -> Tensor:
    """1 in the patch there, 0 elsewhere, (H, W)."""
    rows, columns = (((torch.arange(side) + 0.5) / side - place).abs() < REACH + 0.5 / side for side in image.shape[2:])
    return (rows[:, None] & columns).to(image)


def _margin(weight: Tensor) -> int:
    """Of a map whose cells (2, h, w) weigh that much for the patch at either place."""
    found = []
    for axis in (1, 2):
        along = weight.sum(3 - axis)
        total, cells = along.sum(1), along.shape[1]
        if not (total > 0).all() or ((along[:, 0] + along[:, -1]) > CUT * total).any():
            return 0
        first, second = ((along * (torch.arange(cells) + 0.5)).sum(1) / total).tolist()
        if abs(first + second - cells) > OFF:
            return 0
        found.append((cells - (second - first) / (PLACES[1] - PLACES[0])) / 2)
    return max(0, round(sum(found) / 2)) if abs(found[0] - found[1]) < OFF else 0
