"""Low-pass filters, and features at another sampling rate (Karras et al. 2021, "Alias-Free GAN", appendix C.1)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def low_pass(taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False) -> Tensor:
    """A Kaiser-windowed low-pass of sum 1, (taps,) or, of no direction, (taps, taps); for features at `rate`.

    `width` is that of the whole transition band. A sinc along each axis (equation 3), or a jinc of the distance (C.1).
    """
    places = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    window = torch.from_numpy(np.kaiser(taps, _beta(taps, width / (rate / 2))))
    if not radial:
        filtered = torch.sinc(2 * cutoff / rate * places) * window
    else:
        distance = torch.hypot(places[:, None], places[None]) * math.pi / rate
        filtered = torch.special.bessel_j1(2 * cutoff * distance) / distance * torch.outer(window, window)
    return (filtered / filtered.sum()).float()


def _beta(taps: int, width: float) -> float:
    """Kaiser's shape for a transition band of that share of the spectrum (Kaiser 1974)."""
    decibels = 2.285 * (taps - 1) * math.pi * width + 7.95
    if decibels > 50:
        return 0.1102 * (decibels - 8.7)
    return 0.5842 * (decibels - 21) ** 0.4 + 0.07886 * (decibels - 21) if decibels > 21 else 0.0


def upsample(x: Tensor, filtered: Tensor, factor: int, before: int, size: int) -> Tensor:
    """x (N, C, H, W) with zeros between its cells, under a filter (taps,), cut to `size` cells a side.

    `before` is how many zeros there would be in front of a filter that sees no more than it covers; below 0, cells are
    cut away instead.
    """
    shape, taps = x.shape, len(filtered)
    x = x.reshape(-1, 1, *x.shape[2:])
    for axis in (0, 1):
        kernel = (filtered * factor).view(1, 1, *((taps, 1) if axis == 0 else (1, taps)))
        x = F.conv_transpose2d(x, kernel.to(x), stride=(factor, 1) if axis == 0 else (1, factor))
        start = taps - 1 - before
        cut = (-start, size + start - x.shape[2 + axis])
        x = F.pad(x, (0, 0, *cut) if axis == 0 else cut)
    return x.view(*shape[:2], size, size)


def downsample(x: Tensor, filtered: Tensor, factor: int) -> Tensor:
    """x (N, C, H, W) under a filter, (taps,) for each axis or (taps, taps), every `factor`-th cell of it."""
    shape = x.shape
    x, kernel = x.reshape(-1, 1, *x.shape[2:]), filtered.to(x).flip(*range(filtered.ndim))
    if kernel.ndim == 2:
        x = F.conv2d(x, kernel[None, None], stride=factor)
    else:
        x = F.conv2d(x, kernel.view(1, 1, -1, 1), stride=(factor, 1))
        x = F.conv2d(x, kernel.view(1, 1, 1, -1), stride=(1, factor))
    return x.view(*shape[:2], *x.shape[2:])
