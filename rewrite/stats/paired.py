"""Sums over pairs of measurements on the same sample, with and without something."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairedSums:
    """Sums over samples of `before`, `after`, and what the spread of their difference needs; each (...,) float64."""

    before: Tensor
    after: Tensor
    before_square: Tensor
    product: Tensor
    """Of before and the difference before - after."""
    difference_square: Tensor
    count: int

    @staticmethod
    def empty(*shape: int) -> PairedSums:
        zeros = torch.zeros(*shape, dtype=torch.float64)
        return PairedSums(zeros, zeros, zeros, zeros, zeros, 0)

    def add(self, before: Tensor, after: Tensor) -> PairedSums:
        """With samples (N, ...) counted in."""
        before, after = before.detach().cpu().double(), after.detach().cpu().double()
        lost = before - after
        squares = (before**2).sum(0), (before * lost).sum(0), (lost**2).sum(0)
        return self.merge(PairedSums(before.sum(0), after.sum(0), *squares, len(before)))

    def merge(self, other: PairedSums) -> PairedSums:
        """Both together."""
        return PairedSums(
            self.before + other.before,
            self.after + other.after,
            self.before_square + other.before_square,
            self.product + other.product,
            self.difference_square + other.difference_square,
            self.count + other.count,
        )

    @property
    def lost(self) -> Tensor:
        """Mean of before - after."""
        return (self.before - self.after) / self.count

    @property
    def lost_error(self) -> Tensor:
        """Standard error of `lost`, the samples being paired; NaN for fewer than two."""
        spread = (self.difference_square - self.count * self.lost**2).clamp(min=0)
        return (spread / (self.count - 1) / self.count).sqrt() if self.count > 1 else torch.full_like(spread, torch.nan)

    @property
    def share(self) -> Tensor:
        """Sum of before - after over the sum of before: the part that was removed; NaN where there was nothing."""
        return (self.before - self.after) / self.before

    @property
    def share_error(self) -> Tensor:
        """Standard error of `share`, a ratio of sums (Cochran 1977, section 6.4); NaN for fewer than two samples."""
        ratio = self.share
        spread = (self.difference_square - 2 * ratio * self.product + ratio**2 * self.before_square).clamp(min=0)
        if self.count < 2:
            return torch.full_like(spread, torch.nan)
        return (spread * self.count / (self.count - 1)).sqrt() / self.before.abs()
