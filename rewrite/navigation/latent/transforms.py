"""What a walk should do to images: a transform of some amount, and the mask of the pixels that it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.errors import RewriteError, nearest

Apply = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""Images (N, 3, H, W) and an amount to transformed images and a mask (1, 1, H, W) of 0 and 1."""


@dataclass(frozen=True)
class Transform:
    """`unit` is the amount of strength 1, `most` the largest amount that walks are learned at."""

    apply: Apply
    unit: float
    most: float
    what: str


def transform(name: str) -> Transform:
    """Zoom (amount: log2 of the factor), shift_x and shift_y (share of the image), brightness, red, green, blue."""
    if name not in TRANSFORMS:
        raise RewriteError(f"there is no transform {name!r}; nearest: {nearest(name, TRANSFORMS)}")
    return TRANSFORMS[name]


def warp(maps: Tensor, *, zoom: float = 1.0, right: float = 0.0, down: float = 0.0) -> tuple[Tensor, Tensor]:
    """Maps (N, C, H, W) magnified about their centre, then moved by shares of their sides; a mask of what is known."""
    # Where each cell of the result is read: coordinates run from -1 to 1 over the map.
    theta = maps.new_tensor([[1 / zoom, 0, -2 * right / zoom], [0, 1 / zoom, -2 * down / zoom]])
    grid = F.affine_grid(theta[None], [1, 1, *maps.shape[2:]], align_corners=False)
    inside = (grid.abs() <= 1).all(-1)[:, None].to(maps)
    moved = F.grid_sample(
        maps, grid.expand(len(maps), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False
    )
    return moved, inside


def _zoom(images: Tensor, amount: float) -> tuple[Tensor, Tensor]:
    return warp(images, zoom=2**amount)


def _right(images: Tensor, amount: float) -> tuple[Tensor, Tensor]:
    return warp(images, right=amount)


def _down(images: Tensor, amount: float) -> tuple[Tensor, Tensor]:
    return warp(images, down=amount)


def _brighter(*channels: int) -> Apply:
    def apply(images: Tensor, amount: float) -> tuple[Tensor, Tensor]:
        step = torch.zeros(1, 3, 1, 1).to(images)
        step[:, list(channels)] = amount
        return (images + step).clamp(-1, 1), torch.ones_like(images[:1, :1])

    return apply


TRANSFORMS = {
    "zoom": Transform(_zoom, 0.5, 1.0, "the image magnified by the root of 2"),
    "shift_x": Transform(_right, 0.1, 0.25, "a tenth of the image to the right"),
    "shift_y": Transform(_down, 0.1, 0.25, "a tenth of the image down"),
    "brightness": Transform(_brighter(0, 1, 2), 0.25, 0.5, "a quarter brighter, of -1 to 1"),
    "red": Transform(_brighter(0), 0.25, 0.5, "a quarter more red, of -1 to 1"),
    "green": Transform(_brighter(1), 0.25, 0.5, "a quarter more green, of -1 to 1"),
    "blue": Transform(_brighter(2), 0.25, 0.5, "a quarter more blue, of -1 to 1"),
}
