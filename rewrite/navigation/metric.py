"""How much images differ, as a squared length: d(a, b) = || embed(a) - embed(b) ||^2.

LPIPS is a weighted sum of squared differences of unit features (Zhang et al. 2018, equation 1), so it has such an
embedding, and at no change its Hessian is 2 J' J, J the derivative of the embedding: Gauss-Newton is exact there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.perception import distance
from rewrite.progress import Progress, quiet

PIXELS = "pixels"
SIDE = 256
EPS = 1e-10

Maps = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True, eq=False)
class Metric:
    """A distance by its name, on images of `side` px (None: as they come)."""

    name: str
    side: int | None
    maps: Maps
    """Images (N, 3, H, W) in [-1, 1] to maps (N, C, h, w)."""
    weights: tuple[Tensor, ...]
    """Of each map's channels (C,), none negative."""
    unit: bool
    """Whether the maps are made unit vectors place by place."""
    least: int = 1
    multiple: int = 1

    def embed(self, images: Tensor, coverage: Tensor | None = None) -> Tensor:
        """Images (N, 3, H, W) to vectors (N, F), with the places weighed by `coverage` (N, 1, H, W), if given.

        The squared lengths for a coverage and for 1 less it add up to those without one. It can be differentiated
        forwards and backwards and mapped over. RewriteError if the images are too small for the network.
        """
        images = self.downsized(images)
        parts = []
        for found, weight in zip(self.maps(images), self.weights, strict=True):
            if self.unit:
                found = found / (found.square().sum(1, keepdim=True) + EPS**2).sqrt()
            share = weight[:, None, None] / (found.shape[2] * found.shape[3])
            if coverage is not None:
                share = share * F.adaptive_avg_pool2d(coverage, (found.shape[2], found.shape[3]))
            parts.append(rearrange(found * share.sqrt(), "n c h w -> n (c h w)"))
        return torch.cat(parts, 1)

    def distance(self, one: Tensor, other: Tensor, coverage: Tensor | None = None) -> Tensor:
        """Distances (N,) of pairs of images."""
        return (self.embed(one, coverage) - self.embed(other, coverage)).square().sum(1)

    def downsized(self, images: Tensor) -> Tensor:
        """The images as they are looked at: antialiased, their longer side `side` px; never made larger."""
        height, width = images.shape[2:]
        share = 1.0 if self.side is None else min(1.0, self.side / max(height, width))
        size = max(1, round(height * share)), max(1, round(width * share))
        if min(size) < self.least or any(one % self.multiple for one in size):
            raise RewriteError(
                f"{self.name} was given images of {size[0]} x {size[1]} px; expected sides of {self.least} px at "
                f"least, in multiples of {self.multiple}; look with `pixels`, or at another size"
            )
        if share == 1.0:
            return images
        rows, columns = _shrinking(height, size[0]).to(images), _shrinking(width, size[1]).to(images)
        return torch.einsum("yh,nchw,xw->ncyx", rows, images, columns).clamp(-1, 1)

    @property
    def facts(self) -> dict[str, Any]:
        return {"net": self.name, "size": self.side}


def metric(
    name: str, *, side: int | None = SIDE, device: torch.device | str = "cpu", progress: Progress = quiet
) -> Metric:
    """The metric of that name: `pixels` (mean squared difference), or any that `perception.distance` knows.

    A name gives that one or a RewriteError, never another.
    """
    if name == PIXELS:
        return Metric(PIXELS, side, lambda images: [images], (torch.full((3,), 1 / 3, device=device),), unit=False)
    found = distance(name, device=device, progress=progress)

    weights = tuple(weight.detach().clamp(min=0) for weight in found.weights)
    return Metric(found.identity.name, side, found.trunk, weights, True, found.least, found.multiple)


def _shrinking(before: int, after: int) -> Tensor:
    """The matrix (after, before) of antialiased bicubic resizing along one axis."""
    columns = torch.eye(before)[None, None]
    return F.interpolate(columns, (after, before), mode="bicubic", align_corners=False, antialias=True)[0, 0]
