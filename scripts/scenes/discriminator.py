"""The critic of the training: a small residual network with a verdict on the image and one on each patch of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.models.stylegan2 import FullyConnected

GROUP = 4
"""Images over which the last layer sees how much they differ; batches are multiples of it."""


class Discriminator(nn.Module):
    """Images (N, 3, 64, 64) in [-1, 1] to logits (N, 1) of the image, (N, 1, 8, 8) of its patches.

    `widths` are the channels at 32, 16, 8 and 4 px. Karras et al. 2020 (residual, equalised, with the deviation
    within groups of images), begun at half the resolution on blocks of 2 x 2 pixels; patches as in Isola et al. 2017.
    """

    def __init__(self, widths: Sequence[int] = (64, 96, 128, 128)):
        super().__init__()
        first, second, third, last = widths
        self.stem = Equalised(12, first, 3)
        self.fine = nn.Sequential(Residual(first, second), Residual(second, third))
        self.patch = Equalised(third, 1, 1, gain=1.0)
        self.coarse = Residual(third, last)
        self.join = Equalised(last + 1, last, 3)
        self.hidden = FullyConnected(16 * last, last)
        self.verdict = FullyConnected(last, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.fine(active(self.stem(F.pixel_unshuffle(images, 2))))
        patches = self.patch(x)
        # In single precision even under autocast: deviations and verdicts are small differences.
        with torch.autocast(images.device.type, enabled=False):
            x = self.coarse(x.float())
            x = active(self.join(torch.cat([x, deviation(x)], dim=1)))
            return self.verdict(active(self.hidden(x.flatten(1)))), patches.float()


class Equalised(nn.Module):
    """A convolution whose stored weight has unit variance and acts scaled by its fan-in, times a gain."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = math.sqrt(2)):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)


class Residual(nn.Module):
    """Features to half the resolution: two convolutions, and past them one of 1 x 1."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.first = Equalised(before, before, 3)
        self.second = Equalised(before, after, 3, gain=1.0)
        # The sum of the two has the variance of one.
        self.past = Equalised(before, after, 1, gain=math.sqrt(0.5))

    def forward(self, x: Tensor) -> Tensor:
        through = active(self.second(F.avg_pool2d(active(self.first(x)), 2)))
        return through + self.past(F.avg_pool2d(x, 2))


def active(x: Tensor) -> Tensor:
    """Its gain is part of the weights before it: a pass over memory less."""
    return F.leaky_relu(x, 0.2)


def deviation(x: Tensor) -> Tensor:
    """The mean deviation of features (N, C, H, W) within groups of images, as one more channel, (N, 1, H, W)."""
    groups = x.unflatten(0, (GROUP, -1))
    spread = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    return spread.repeat(GROUP)[:, None, None, None].expand(-1, 1, *x.shape[2:])
