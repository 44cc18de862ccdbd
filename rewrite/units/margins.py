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
"""Middles of the patches, as shares of the image's sides; one for each of two images."""
EACH = 8
"""Images for each place."""
REACH = 0.0625
"""From a patch's middle to its border, likewise."""
CUT = 0.01
"""With a larger share of what a patch hangs on at the map's border, there is more beyond: its middle tells nothing."""
OFF = 1.0
"""Cells that the sides may differ by: more, and what is cropped is no margin."""


@torch.no_grad()
def margins(generator: Generator, modules: Mapping[str, nn.Module]) -> dict[str, int]:
    """Cells on each side of each module's maps; 0 where nothing is found."""
    if not modules:
        return {}
    label = [0] * len(PLACES) * EACH if generator.classes else None
    ws = generator.styles(generator.latents(Row(0, row) for row in range(len(PLACES) * EACH)), label=label)
    slopes: dict[str, Tensor] = {}

    def hear(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.requires_grad:
            output.register_hook(lambda slope: slopes.__setitem__(name, slope.detach()))

    with torch.enable_grad(), hooks.overhear(modules, hear):
        leaf = ws.detach().clone().requires_grad_()
        images = generator.synthesize(ws=leaf)
        signs = torch.randint(2, images.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1
        told = (images * signs.to(images) * _patches(images)).sum()
        with suppress(RuntimeError):  # A network that nothing can be differentiated through tells nothing.
            torch.autograd.grad(told, leaf)
    return {name: _margin(slopes[name].double().square().sum(1).cpu()) if name in slopes else 0 for name in modules}


def _patches(images: Tensor) -> Tensor:
    """1 in the patch of each image, 0 elsewhere, (N, 1, H, W)."""
    masks = []
    for place in PLACES * EACH:
        rows, columns = (
            ((torch.arange(side) + 0.5) / side - place).abs() < REACH + 0.5 / side for side in images.shape[2:]
        )
        masks.append(rows[:, None] & columns)
    return torch.stack(masks)[:, None].to(images)


def _margin(weight: Tensor) -> int:
    """Of a map whose cells (N, h, w) weigh that much for the patch of each image."""
    found = []
    weight = weight.unflatten(0, (EACH, len(PLACES))).sum(0)
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
