"""Histograms whose bins are known beforehand, so that one pass is enough and halves merge to the bit.

Bins are steps of the number format itself: each octave between two powers of two is cut into equal parts (as in HDR
histograms and DDSketch, Masson et al. 2019), on either side of zero. A quantile is interpolated within its bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.errors import RewriteError

MANTISSA = 23
"""Bits of a float32 below its exponent."""
BIAS = 127
CACHED = 2**19
"""Numbers that a processor keeps at hand."""


@dataclass(frozen=True)
class Bins:
    """Magnitudes from 2^low to 2^high, each octave cut into 2^bits parts; `signed` has them below zero too.

    What is smaller in magnitude (unsigned: and all that is negative) shares one bin at zero; what is larger goes into
    the last ones.
    """

    low: int
    high: int
    bits: int
    signed: bool = True

    @property
    def side(self) -> int:
        """Bins on one side of zero."""
        return (self.high - self.low) << self.bits

    @property
    def count(self) -> int:
        return self.side * (2 if self.signed else 1) + 1

    @property
    def edges(self) -> Tensor:
        """(count + 1,) float64, ascending: bin i holds edges[i] <= x < edges[i + 1] above zero, and mirrored below."""
        octaves = torch.arange(self.low, self.high + 1, dtype=torch.float64).exp2()
        parts = torch.arange(1 << self.bits, dtype=torch.float64) / (1 << self.bits) + 1
        above = torch.cat([torch.outer(octaves[:-1], parts).flatten(), octaves[-1:]])
        below = -above.flip(0) if self.signed else above.new_zeros(1)
        return torch.cat([below, above])

    def index(self, values: Tensor) -> Tensor:
        """Bin of each value (any shape, floating point) as int32."""
        patterns = values.detach().float().contiguous().view(torch.int32).flatten()
        found = torch.empty_like(patterns)
        first = (self.low + BIAS) << self.bits
        for pattern, step in zip(patterns.split(CACHED), found.split(CACHED), strict=True):
            torch.bitwise_and(pattern, 0x7FFFFFFF, out=step)
            step.bitwise_right_shift_(MANTISSA - self.bits).sub_(first - 1).clamp_(0, self.side)
            sign = pattern >> 31  # 0, or -1 below zero: (x ^ -1) + 1 is -x
            if self.signed:
                step.bitwise_xor_(sign).sub_(sign).add_(self.side)
            else:
                step.bitwise_and_(~sign)
        return found.view(values.shape)


WIDE = Bins(-16, 16, 6)
"""4,097 bins from 2^-16 to 2^16, each 1.6 % wide at most: quantiles of activations."""


@dataclass(frozen=True)
class Histogram:
    """Counts of values by row and bin, int64 (R, bins); a row is a channel, or a channel under a condition."""

    bins: Bins
    counts: Tensor

    @staticmethod
    def empty(rows: int, bins: Bins = WIDE) -> Histogram:
        return Histogram(bins, torch.zeros(rows, bins.count, dtype=torch.int64))

    def add(self, *values: Tensor) -> Histogram:
        """With maps (N, R, H, W) counted in, one row a channel."""
        return self.add_bins(*map(self.bins.index, values))

    def add_bins(self, *bins: Tensor) -> Histogram:
        """With maps (N, R, H, W) counted in whose values lie in these bins, one row a channel."""
        rows = torch.arange(len(self.counts), dtype=torch.int32, device=bins[0].device)[:, None, None]
        return self._add([rows * self.bins.count + one for one in bins])

    def add_rows(self, values: Tensor, rows: Tensor) -> Histogram:
        """With values counted in, each in the row that `rows` (int32, broadcast against them) names."""
        return self._add([self.bins.index(values) + rows * self.bins.count])

    def _add(self, places: Sequence[Tensor]) -> Histogram:
        size = self.counts.numel()
        if size >= 2**31:
            raise RewriteError(f"a histogram of {size} bins is too large; expected under 2^31, so count fewer concepts")
        found = torch.bincount(torch.cat([one.flatten() for one in places]), minlength=size).cpu()
        return Histogram(self.bins, self.counts + found.view_as(self.counts))

    def merge(self, other: Histogram) -> Histogram:
        """Both together; RewriteError unless their bins and rows are alike."""
        if self.bins != other.bins or self.counts.shape != other.counts.shape:
            raise RewriteError("histograms of different bins or rows cannot be added; expected two of one measurement")
        return Histogram(self.bins, self.counts + other.counts)

    def quantile(self, share: float) -> Tensor:
        """The value (R,) float64 below which `share` of each row's values lie; NaN for a row without values.

        Evenly spread within a bin, except in the one at zero, whose values are taken for zero.
        """
        total = self.counts.sum(1)
        below = self.counts.cumsum(1).double()
        target = share * total.double()
        bin_ = (below < target[:, None]).sum(1).clamp(max=self.bins.count - 1)
        inside = self.counts.gather(1, bin_[:, None])[:, 0].double()
        before = below.gather(1, bin_[:, None])[:, 0] - inside
        edges = self.bins.edges
        low, high = edges[bin_], edges[bin_ + 1]
        value = low + (high - low) * ((target - before) / inside.clamp(min=1)).clamp(0, 1)
        zero = self.bins.side if self.bins.signed else 0
        value = torch.where(bin_ == zero, 0.0, value)
        return torch.where(total > 0, value, torch.nan)

    def rank(self, values: Tensor) -> Tensor:
        """Share of each row's values that are below `values` (P, R), as (P, R) float64: evenly spread within a bin."""
        index = self.bins.index(values).long()
        below = torch.cat([torch.zeros(len(self.counts), 1, dtype=torch.int64), self.counts.cumsum(1)], 1)
        start, stop = (below.T.gather(0, index + i).double() for i in (0, 1))
        edges = self.bins.edges
        low, high = edges[index], edges[index + 1]
        part = ((values.double() - low) / (high - low)).clamp(0, 1)
        return (start + part * (stop - start)) / self.counts.sum(1).clamp(min=1)
