"""Label maps as a layer's cells see them, and features as a label map's pixels see them.

Every family here keeps its maps aligned: cell (i, j) of an h x w map covers pixels i H / h to (i + 1) H / h and
j W / w to (j + 1) W / w. Coverage is counted in whole numbers, so that counts add up exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import gcd

import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.errors import RewriteError

EXACT = 2**24
"""Whole numbers below this are exact in float32."""

CACHED = 2**19
"""Numbers that a processor keeps at hand: large tables cost more to fetch than to reckon with."""

Grid = tuple[int, int]


def lengths(cells: int, pixels: int) -> Tensor:
    """How long each pixel is within each cell, (cells, pixels) float32 whole numbers.

    A cell is pixels / g long and a pixel cells / g, g their greatest common divisor.
    """
    # In units of one part of the side in cells * pixels.
    edges = torch.arange(cells + 1) * pixels, torch.arange(pixels + 1) * cells
    low = torch.maximum(edges[0][:-1, None], edges[1][None, :-1])
    high = torch.minimum(edges[0][1:, None], edges[1][None, 1:])
    return (high - low).clamp(min=0).div(gcd(cells, pixels), rounding_mode="floor").float()


def cell_area(grid: Grid, size: Grid) -> int:
    """Area of a cell of `grid` over label maps of `size`, in the units of `coverage`."""
    area = 1
    for cells, pixels in zip(grid, size, strict=True):
        area *= pixels // gcd(cells, pixels)
    if area * grid[0] * grid[1] >= EXACT:
        raise RewriteError(
            f"label maps of {size[0]} x {size[1]} cannot be counted exactly on a grid of {grid[0]} x {grid[1]} cells; "
            f"expected a size that the grid divides, or images under 4,096 px a side"
        )
    return area


def beneath(cells: Tensor, grid: Grid, other: Grid) -> Tensor:
    """The cells of another grid, counted row by row, in which the middles of cells of a grid lie."""
    rows, columns = ((2 * at + 1) * b // (2 * a) for at, a, b in
                     zip((cells // grid[1], cells % grid[1]), grid, other, strict=True))  # fmt: skip
    return rows * other[1] + columns


def coverage(planes: Tensor, grid: Grid) -> Tensor:
    """Area of each concept in each cell, (N, C, h, w) float32 whole numbers, of 0-or-1 planes (N, C, H, W)."""
    size = planes.shape[2], planes.shape[3]
    if all(pixels % cells == 0 for cells, pixels in zip(grid, size, strict=True)):
        window = size[0] // grid[0], size[1] // grid[1]
        return planes if window == (1, 1) else F.avg_pool2d(planes, window, divisor_override=1)
    rows, columns = (lengths(cells, pixels).to(planes) for cells, pixels in zip(grid, size, strict=True))
    return rows @ planes @ columns.T


@cache
def weights(cells: int, points: int, padding: str) -> Tensor:
    """What each point takes of each cell along a side that is interpolated linearly, (points, cells) float32."""
    places = (torch.arange(points, dtype=torch.float64) + 0.5) * cells / points - 0.5
    if padding == "border":
        places = places.clamp(0, cells - 1)
    return (1 - (places[:, None] - torch.arange(cells)).abs()).clamp(min=0).float()


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """0-or-1 planes (N, C, H, W) float32 of label maps (N, H, W)."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)[:, None, None]).float()


def prevailing(planes: Tensor, grid: Grid) -> Tensor:
    """The concept (N, h, w) int64 that covers most of each cell, of 0-or-1 planes (N, C, H, W)."""
    return coverage(planes, grid).argmax(1)


def pieces(maps: Tensor, cells: int) -> Iterator[Tensor]:
    """A batch of maps (N, C, h, w), as many images at a time as stay in a processor's cache with `cells` cells each."""
    return iter(maps.split(max(1, CACHED // (maps.shape[1] * cells))))


def upsampled(features: Tensor, size: Grid, padding: str) -> Tensor:
    """Features (N, C, h, w) bilinearly at `size`, half-pixel centres; beyond the border "zeros" or the "border"."""
    own = features.shape[2], features.shape[3]
    if own == size:
        return features
    if all(cells <= points for cells, points in zip(own, size, strict=True)):
        rows, columns = (weights(*sides, padding).to(features) for sides in zip(own, size, strict=True))
        # Laid out so that either is one product of two matrices.
        tall = features.transpose(2, 3).contiguous() @ rows.T
        return tall.transpose(2, 3).contiguous() @ columns.T
    if padding == "border":
        return F.interpolate(features, size, mode="bilinear", align_corners=False)
    still = torch.eye(2, 3, dtype=features.dtype, device=features.device).expand(len(features), 2, 3)
    places = F.affine_grid(still, [len(features), 1, *size], align_corners=False)
    return F.grid_sample(features, places, mode="bilinear", padding_mode=padding, align_corners=False)
