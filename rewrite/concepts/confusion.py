"""Which class is taken for which: counts of pixels that add up over batches, machines and runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.errors import RewriteError


@dataclass(frozen=True, eq=False)
class Confusion:
    """Pixels by their true and their predicted class."""

    classes: tuple[str, ...]
    counts: Tensor
    """(K, K) int64: rows are true classes, columns predicted ones."""

    @staticmethod
    def empty(classes: tuple[str, ...]) -> Confusion:
        return Confusion(classes, torch.zeros(len(classes), len(classes), dtype=torch.int64))

    def add(self, truth: Tensor, predicted: Tensor) -> Confusion:
        """With two label maps of one shape counted in; RewriteError unless both hold indices of the classes."""
        if truth.shape != predicted.shape:
            raise RewriteError(
                f"true labels have the shape {tuple(truth.shape)} and predicted ones {tuple(predicted.shape)}; "
                f"expected one shape, so label the same images"
            )
        size = len(self.classes)
        truth, predicted = (self._indices(labels) for labels in (truth, predicted))
        pairs = torch.bincount(truth * size + predicted, minlength=size**2)
        return Confusion(self.classes, self.counts + pairs.view(size, size))

    def merge(self, other: Confusion) -> Confusion:
        """Both together; RewriteError unless they are of the same classes in the same order."""
        if self.classes != other.classes:
            raise RewriteError(
                f"confusions of the classes {', '.join(self.classes)} and {', '.join(other.classes)} cannot be "
                f"added; expected the same in the same order, so use one segmenter"
            )
        return Confusion(self.classes, self.counts + other.counts)

    @property
    def pixels(self) -> int:
        return int(self.counts.sum())

    @property
    def iou(self) -> Tensor:
        """Intersection over union of each class, (K,) float64; NaN for one that neither occurs nor is predicted."""
        both = self.counts.diag()
        return both.double() / (self.counts.sum(0) + self.counts.sum(1) - both)

    @property
    def mean_iou(self) -> float:
        """Over the classes that occur or are predicted; NaN before any pixel."""
        return float(self.iou.nanmean())

    @property
    def accuracy(self) -> float:
        """Share of pixels whose class was found; NaN before any pixel."""
        return float(self.counts.trace().double() / self.counts.sum())

    @property
    def true_shares(self) -> Tensor:
        """Share of pixels of each class, (K,) float64."""
        return self.counts.sum(1).double() / self.counts.sum()

    @property
    def predicted_shares(self) -> Tensor:
        """Share of pixels taken for each class, (K,) float64."""
        return self.counts.sum(0).double() / self.counts.sum()

    def _indices(self, labels: Tensor) -> Tensor:
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise RewriteError(f"labels are of type {labels.dtype}; expected whole numbers, indices of the classes")
        flat = labels.detach().cpu().long().flatten()
        if len(flat) and (low := int(flat.min()), high := int(flat.max())) and not 0 <= low <= high < len(self.classes):
            raise RewriteError(
                f"labels go from {low} to {high}; expected 0 to {len(self.classes) - 1}, indices of the "
                f"{len(self.classes)} classes"
            )
        return flat
