"""Extractors: images to features that know what they were made with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edits.finite import finite
from rewrite.errors import RewriteError
from rewrite.perception.identity import Identity, agreed
from rewrite.perception.images import INTERPOLATIONS, checked, rounded

Network = Callable[[Tensor], Tensor]
"""Images (N, 3, H, W) in [-1, 1] to features (N, d)."""


@dataclass(frozen=True, eq=False)
class Extractor:
    """A network and its identity, which is also the order that images are prepared by.

    Any callable becomes one: `Extractor(Identity("mine", weights="v3"), network)`.
    """

    identity: Identity
    network: Network

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] to features (N, d) float32. Gradients flow unless images are rounded."""
        images = checked(images).float()
        if self.identity.rounding == "uint8":
            images = rounded(images)
        side = self.identity.resolution
        if side is not None and images.shape[2:] != (side, side):
            images = INTERPOLATIONS[self.identity.interpolation](images, side)
        return self.network(images).float()

    def of(self, batches: Iterable[Tensor]) -> Features:
        """The features of all images, without gradients, on the CPU."""
        with torch.no_grad():
            found = [self(images).cpu() for images in batches]
        if not found:
            raise RewriteError("there are no images to look at; expected one batch at least")
        return Features(torch.cat(found), self.identity)


@dataclass(frozen=True, eq=False)
class Features:
    """Features (N, d) float32 of N images, and what made them."""

    values: Tensor
    identity: Identity

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not len(self.values) or not finite(self.values):
            raise RewriteError(
                f"features of {self.identity.short} have shape {tuple(self.values.shape)}, or are not finite; "
                f"expected finite (N, d) of one image at least"
            )

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | Tensor) -> Features:
        return Features(self.values[rows], self.identity)

    @staticmethod
    def join(parts: Iterable[Features]) -> Features:
        """All of them, in order; RewriteError if there are none, or they are not of one identity."""
        parts = list(parts)
        if not parts:
            raise RewriteError("there are no features to join; expected those of one batch at least")
        return Features(torch.cat([part.values for part in parts]), agreed(*(part.identity for part in parts)))

    def standardised(self, reference: Features, by: str) -> Features:
        """Less the mean and over the standard deviation of `reference`, feature by feature.

        `by` names the reference; it becomes part of the identity. Features that are constant there are only centred.
        """
        agreed(self.identity, reference.identity)
        base = reference.values.double()
        deviation = base.std(0)
        deviation = torch.where(deviation > 0, deviation, 1.0)
        values = (self.values.double() - base.mean(0)) / deviation
        return Features(values.float(), replace(self.identity, scale=by))
