"""The critic of the training: small heads on frozen ImageNet features of the whole image.

Sauer et al. 2021, "Projected GANs Converge Faster": features at several scales are mixed by fixed random
convolutions, across channels and from coarse to fine, so that no head can single out what tells real from
sample at once. Beside a critic that learns its own features (on one core each, eight minutes), it had houses,
trees and windows after 10,000 images, where the other had coloured fog.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from rewrite.perception.lite0 import Lite0

BLOCKS = (0, 2, 4, 10, 15)
FOUND = (16, 24, 40, 112, 320)
"""Channels of the features after these blocks, at 32, 16, 8, 4 and 2 px of a 64 px image."""
COARSE = 8
"""Pixels from which on a head also sees how much the images of a batch differ."""
GROUP = 4
"""Images over which that is seen; a process's part of a batch is a multiple of it."""
DAMPING = 0.7
"""Of a sum of two signals of like variance."""


class Discriminator(nn.Module):
    """Images (N, 3, 64, 64) in [-1, 1] to a map of verdicts a scale; `widths` are of the mixed features, fine first."""

    def __init__(self, widths: Sequence[int] = (32, 48, 64, 128, 128)):
        super().__init__()
        pairs = list(pairwise(widths))
        self.features = Lite0.installed()
        self.across = _fixed(nn.Conv2d(i, o, 1, bias=False) for i, o in zip(FOUND, widths, strict=True))
        self.down = _fixed(nn.Conv2d(coarse, fine, 1, bias=False) for fine, coarse in pairs)
        self.around = _fixed(nn.Conv2d(width, width, 3, padding=1, bias=False) for width in widths[:-1])
        self.heads = nn.ModuleList(head(width, 32 >> i) for i, width in enumerate(widths))

    def project(self, images: Tensor) -> list[Tensor]:
        """The mixed features, fine to coarse. Gradients flow to the images."""
        mixed = [mix(x) for mix, x in zip(self.across, self.features(images, BLOCKS), strict=True)]
        for i in range(len(mixed) - 2, -1, -1):
            coarse = F.interpolate(self.down[i](mixed[i + 1]), scale_factor=2, mode="nearest")
            mixed[i] = self.around[i](mixed[i] + coarse) * DAMPING
        return mixed

    def judge(self, projected: Sequence[Tensor]) -> list[Tensor]:
        """High where a patch looks real; each (N, 1, h, w)."""
        return [verdict(x) for verdict, x in zip(self.heads, projected, strict=True)]


def head(width: int, size: int) -> nn.Sequential:
    """Features at `size` px down to 4 px or less, then one verdict a patch or image."""
    layers: list[nn.Module] = [Deviation()] if size <= COARSE else []
    width += len(layers)
    while size > 4 or len(layers) < 2:
        after = min(128, max(64, width)) if size > 4 else 128
        kernel, stride = (4, 2) if size > 4 else (3, 1)
        layers += [
            spectral_norm(nn.Conv2d(width, after, kernel, stride, 1, bias=False)),
            # Always by the batch at hand: it is trained for as long as it is used.
            nn.BatchNorm2d(after, track_running_stats=False),
            nn.LeakyReLU(0.2),
        ]
        width, size = after, size // stride
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, min(4, size))))


class Deviation(nn.Module):
    """Features (N, C, H, W) and, as one more channel, their mean deviation within groups of images.

    Karras et al. 2018, "Progressive Growing of GANs", section 3: samples that are all alike are told at a glance.
    """

    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(0, (GROUP, -1))
        spread = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat(GROUP)
        return torch.cat([x, spread[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)


def _fixed(layers: Iterable[nn.Conv2d]) -> nn.ModuleList:
    found = nn.ModuleList(layers).requires_grad_(False)
    for layer in found:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return found


def hinge(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """What the heads minimise: verdicts beyond 1 on real images, beyond -1 on samples."""
    return torch.stack([F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]).sum()
