"""Whole-number counts of where two sets of things are on at once, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.errors import RewriteError

EXACT = 2**24
"""Whole numbers below this are exact in float32."""


@dataclass(frozen=True)
class Overlaps:
    """Areas over which units are on, concepts are there, and both at once; all over one `total`."""

    both: Tensor
    """(U, C) int64."""
    units: Tensor
    """(U,) int64."""
    concepts: Tensor
    """(C,) int64."""
    total: int

    @staticmethod
    def empty(units: int, concepts: int) -> Overlaps:
        both = torch.zeros(units, concepts, dtype=torch.int64)
        return Overlaps(both, both.sum(1), both.sum(0), 0)

    def add(self, on: Tensor, coverage: Tensor, cell: int) -> Overlaps:
        """With images counted in: `on` (N, U, P) 0 or 1, `coverage` (N, C, P) whole numbers adding up to `cell`."""
        images, _, places = on.shape
        exact = torch.float32 if places * cell < EXACT else torch.float64
        # Image by image, which stay in a processor's cache.
        found = [here.to(exact) @ there.to(exact).T for here, there in zip(on, coverage, strict=True)]
        both = torch.stack(found).cpu().long().sum(0)
        concepts = coverage.sum(2).cpu().long().sum(0)
        # Wherever a unit is on, there is some concept.
        return self.merge(Overlaps(both, both.sum(1), concepts, images * places * cell))

    def merge(self, other: Overlaps) -> Overlaps:
        """Both together; RewriteError unless they are of the same units and concepts."""
        if self.both.shape != other.both.shape:
            raise RewriteError("counts of different units or concepts cannot be added; expected two of one measurement")
        return Overlaps(
            self.both + other.both,
            self.units + other.units,
            self.concepts + other.concepts,
            self.total + other.total,
        )

    @property
    def iou(self) -> Tensor:
        """Intersection over union, (U, C) float64; 0 where there is neither."""
        union = self.units[:, None] + self.concepts - self.both
        return self.both.double() / union.clamp(min=1)

    @property
    def quality(self) -> Tensor:
        """Information quality ratio I(unit; concept) / H(unit, concept), (U, C) float64 in [0, 1]; 0 where H is 0."""
        return information_quality(self.both, self.units[:, None], self.concepts, self.total)


def information_quality(both: Tensor, first: Tensor, second: Tensor, total: int) -> Tensor:
    """I(a; b) / H(a, b) of two events, of counts out of one `total`: both, the first, the second (Wijaya et al. 2017).

    All four cells of the table share the denominator, so they add up to 1 by themselves.
    """
    share = max(total, 1)
    a, b = first.double() / share, second.double() / share
    joint = both.double() / share
    cells = [
        (joint, a, b),
        (a - joint, a, 1 - b),
        (b - joint, 1 - a, b),
        (1 - a - b + joint, 1 - a, 1 - b),
    ]
    shared = torch.zeros_like(joint)
    entropy = torch.zeros_like(joint)
    for cell, row, column in cells:
        cell = cell.clamp(min=0)
        shared += torch.xlogy(cell, cell) - torch.xlogy(cell, row * column)
        entropy -= torch.xlogy(cell, cell)
    return torch.where(entropy > 1e-15, shared / entropy.clamp(min=1e-15), 0.0).clamp(0, 1)
