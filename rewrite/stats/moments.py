"""Moments: of a layer's keys with their lags, and of single channels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

Lag = tuple[int, int]
CACHED = 2**18
"""Numbers that a processor keeps at hand."""


def half_plane(reach: Lag) -> tuple[Lag, ...]:
    """Lags (dy, dx) with |dy| <= reach_y and |dx| <= reach_x, one of each pair +-lag; (0, 0) first."""
    height, width = reach
    lags = [(dy, dx) for dy in range(height + 1) for dx in range(-width, width + 1) if (dy, dx) >= (0, 0)]
    return tuple(sorted(lags))


@dataclass(frozen=True)
class SecondMoments:
    """Sums of k_p k'_(p+lag) over positions p of feature maps, in float64.

    A pair that reaches beyond the map counts as zero, as zero padding makes it, and every lag is divided by the same
    number of positions: so the block matrix of all lags is positive semi-definite.
    """

    sums: dict[Lag, Tensor]
    """Lag to (C, C)."""
    positions: int
    images: int

    @staticmethod
    def empty(channels: int, reach: Lag = (0, 0)) -> SecondMoments:
        zeros = {lag: torch.zeros(channels, channels, dtype=torch.float64) for lag in half_plane(reach)}
        return SecondMoments(zeros, 0, 0)

    def add(self, features: Tensor) -> SecondMoments:
        """With the maps (N, C, H, W) counted in."""
        features = features.detach().double()
        images, _, height, width = features.shape
        sums = {}
        for (dy, dx), total in self.sums.items():
            here = features[:, :, : height - dy, max(0, -dx) : width - max(0, dx)]
            there = features[:, :, dy:, max(0, dx) : width + min(0, dx)]
            sums[dy, dx] = total + (_cells(here) @ _cells(there).T).cpu()
        return SecondMoments(sums, self.positions + images * height * width, self.images + images)

    def merge(self, other: SecondMoments) -> SecondMoments:
        """Both together."""
        sums = {lag: total + other.sums[lag] for lag, total in self.sums.items()}
        return SecondMoments(sums, self.positions + other.positions, self.images + other.images)

    def at(self, lag: Lag) -> Tensor:
        """E[k_p k'_(p+lag)], (C, C) float64; any sign of lag."""
        if lag in self.sums:
            return self.sums[lag] / self.positions
        return self.sums[-lag[0], -lag[1]].T / self.positions

    def __iter__(self) -> Iterator[tuple[Lag, Tensor]]:
        return iter(self.sums.items())


@dataclass(frozen=True)
class ChannelMoments:
    """Sums of the values of each channel and of their squares, float64, with the exact least and largest value."""

    sums: Tensor
    """(C,) float64."""
    squares: Tensor
    """(C,) float64."""
    least: Tensor
    """(C,) float32; +inf before any value."""
    largest: Tensor
    """(C,) float32; -inf before any value."""
    count: int

    @staticmethod
    def empty(channels: int) -> ChannelMoments:
        zeros, infinite = torch.zeros(channels, dtype=torch.float64), torch.full((channels,), math.inf)
        return ChannelMoments(zeros, zeros, infinite, -infinite, 0)

    def add(self, features: Tensor) -> ChannelMoments:
        """With the maps (N, C, H, W) counted in."""
        found = self
        for image in features.detach().cpu().flatten(2):
            # Little at once, which stays in a processor's cache.
            for values in image.split(max(1, CACHED // len(image)), 1):
                wide = values.double()
                extremes = values.amin(1).float(), values.amax(1).float()
                found = found.merge(ChannelMoments(wide.sum(1), wide.square_().sum(1), *extremes, values.shape[1]))
        return found

    def merge(self, other: ChannelMoments) -> ChannelMoments:
        """Both together."""
        return ChannelMoments(
            self.sums + other.sums,
            self.squares + other.squares,
            torch.minimum(self.least, other.least),
            torch.maximum(self.largest, other.largest),
            self.count + other.count,
        )

    @property
    def mean(self) -> Tensor:
        """(C,) float64; NaN before any value."""
        return self.sums / self.count if self.count else torch.full_like(self.sums, math.nan)

    @property
    def variance(self) -> Tensor:
        """(C,) float64, of the values as they are; NaN before any value."""
        return (self.squares / self.count - self.mean**2).clamp(min=0) if self.count else self.mean


def _cells(maps: Tensor) -> Tensor:
    return rearrange(maps, "n c h w -> c (n h w)")
