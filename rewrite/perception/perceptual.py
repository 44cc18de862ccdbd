"""The distance between two images of a pair, in the features of a network.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", equation 1: features are
made unit vectors place by place; their squared differences are weighted, summed over channels, averaged over places
and summed over layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.perception.identity import Identity
from rewrite.perception.images import checked

Trunk = Callable[[Tensor], Sequence[Tensor]]
"""Images (N, 3, H, W) in [-1, 1] to feature maps of several layers."""
EPS = 1e-10


class Perceptual(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] and others to distances (N,). Gradients flow to the images."""

    def __init__(self, identity: Identity, trunk: Trunk, weights: Sequence[Tensor], *, least: int, multiple: int = 1):
        """`weights` (C,) are of each layer's channels; sides are `least` px or more, and a multiple of `multiple`."""
        super().__init__()
        self.identity, self.trunk, self.least, self.multiple = identity, trunk, least, multiple
        self.weights = nn.ParameterList(weights).requires_grad_(False)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return self.several(one, other)[0]

    def several(self, one: Tensor, *others: Tensor) -> list[Tensor]:
        """Distances (N,) from the one to each of the others; its features are computed once."""
        for other in others:
            self._check(one, other)
        ours = [_unit(features) for features in self.trunk(one)]
        return [torch.stack([layer.mean((1, 2, 3)) for layer in self._apart(ours, other)]).sum(0) for other in others]

    def maps(self, one: Tensor, other: Tensor) -> Tensor:
        """The distance place by place, (N, 1, H, W)."""
        self._check(one, other)
        size, ours = one.shape[2:], [_unit(features) for features in self.trunk(one)]
        return torch.stack([
            F.interpolate(layer, size, mode="bilinear", align_corners=False) for layer in self._apart(ours, other)
        ]).sum(0)  # fmt: skip

    def _apart(self, ours: Sequence[Tensor], other: Tensor) -> list[Tensor]:
        """Weighted squared differences of each layer, (N, 1, h, w)."""
        weights = (rearrange(weight, "c -> c 1 1") for weight in self.weights)
        return [
            (weight * (mine - _unit(theirs)) ** 2).sum(1, keepdim=True)
            for mine, theirs, weight in zip(ours, self.trunk(other), weights, strict=True)
        ]

    def _check(self, one: Tensor, other: Tensor) -> None:
        name = self.identity.short
        if checked(one).shape != checked(other).shape:
            raise RewriteError(f"{name} was given images {tuple(one.shape)} and {tuple(other.shape)}; expected pairs")
        if min(one.shape[2:]) < self.least or any(side % self.multiple for side in one.shape[2:]):
            sides = f"{self.least} px at least" + (f", multiples of {self.multiple}" if self.multiple > 1 else "")
            raise RewriteError(f"{name} was given images of {tuple(one.shape[2:])} px; expected sides of {sides}")
        reach = max(float(images.detach().abs().max()) for images in (one, other))
        if reach > 1:
            raise RewriteError(f"{name} was given images that reach {reach:.3g}; expected [-1, 1], so clamp them")


def _unit(features: Tensor) -> Tensor:
    # A vector norm, not the root of a sum: where all channels are 0 its gradient is 0 instead of not a number.
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + EPS)
