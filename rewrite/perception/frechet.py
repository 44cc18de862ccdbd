"""The Fréchet distance between Gaussians, exact in float64: never negative, and exactly 0 from a thing to itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.perception.features import Features
from rewrite.perception.figure import Figure
from rewrite.perception.identity import Identity, agreed


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and scatter of features, in float64, merged as they stream (Chan, Golub & LeVeque 1983)."""

    count: int
    mean: Tensor
    """(d,)"""
    scatter: Tensor
    """(d, d): the sum of outer products of deviations from the mean."""
    identity: Identity

    @staticmethod
    def of(*batches: Features) -> Moments:
        """Of all batches together."""
        return reduce(Moments.merge, map(_moments, batches))

    @staticmethod
    def streamed(batches: Iterable[Features]) -> Moments:
        """The same, of features that need not all be in memory at once."""
        return reduce(Moments.merge, map(_moments, batches))

    def merge(self, other: Moments) -> Moments:
        """Both together; RewriteError if they are of different extractors."""
        count, apart = self.count + other.count, other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * (other.count / count),
            self.scatter + other.scatter + torch.outer(apart, apart) * (self.count * other.count / count),
            agreed(self.identity, other.identity),
        )

    @property
    def covariance(self) -> Tensor:
        """(d, d), unbiased."""
        return self.scatter / (self.count - 1)

    @property
    def spread(self) -> float:
        """The trace of the covariance: what a distance may be measured in."""
        return float(self.covariance.trace())


def _moments(features: Features) -> Moments:
    values = features.values.double()
    mean = values.mean(0)
    deviations = values - mean
    return Moments(len(values), mean, deviations.T @ deviations, features.identity)


def frechet_distance(one: Moments, other: Moments, *, singular: bool = False) -> Figure:
    """|m - n|^2 + tr(S + T - 2 (S T)^(1/2)), for means m, n and covariances S, T (Dowson & Landau 1982).

    With S = A A' and T = B B' the last trace is the nuclear norm of A' B, and the whole is |m - n|^2 + |A - B Q|^2 for
    the rotation Q that brings B closest to A: a sum of squares, from which nothing is subtracted.

    Its bias is about a constant over the number of images, so figures of equal numbers alone compare. RewriteError if
    the identities differ, or if there are no more images than features and `singular` is false.
    """
    identity = agreed(one.identity, other.identity)
    width, fewest = len(one.mean), min(one.count, other.count)
    if fewest < 2 or (fewest <= width and not singular):
        raise RewriteError(
            f"a Fréchet distance of {fewest} images in {width} features has a covariance without full rank; measure "
            f"more than {max(width, 1)} images, or take a layer of fewer features"
        )
    samples = (one.count, other.count)
    if one.count == other.count and torch.equal(one.mean, other.mean) and torch.equal(one.scatter, other.scatter):
        # Below, rounding would leave some 1e-26.
        return Figure("FD", 0.0, identity, samples)
    roots = sorted((_root(one.covariance), _root(other.covariance)), key=lambda root: root.shape[1])
    narrow, wide = roots
    left, _, right = torch.linalg.svd(wide.T @ narrow, full_matrices=False)
    value = (one.mean - other.mean).square().sum() + (wide - narrow @ right.T @ left.T).square().sum()
    return Figure("FD", float(value), identity, samples)


def _root(covariance: Tensor) -> Tensor:
    """A (d, r) with A A' = covariance, r its numerical rank."""
    energies, directions = torch.linalg.eigh(covariance)
    kept = energies > energies[-1].clamp(min=0) * len(energies) * torch.finfo(energies.dtype).eps
    return directions[:, kept] * energies[kept].sqrt()
