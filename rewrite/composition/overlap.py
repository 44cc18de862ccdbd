"""How two changes of one layer lie to one another, and how crowded the layer's key space is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from rewrite.generator import Layer
from rewrite.memory import Change, expected_patches
from rewrite.rules.context import inverse_root
from rewrite.rules.evidence import Evidence
from rewrite.stats import SecondMoments

NEGLIGIBLE = 1e-6


@dataclass(frozen=True)
class Sides:
    """What a change reads and writes: orthonormal bases of both sides of dW, the kernel on the side that writes."""

    keys: Tensor
    """(in, rank)."""
    values: Tensor
    """(out . taps, rank)."""

    @property
    def rank(self) -> int:
        return self.keys.shape[1]


@dataclass(frozen=True)
class Overlap:
    """Shared space of two changes, ||Q1' Q2||^2 / min(rank 1, rank 2), beside what random spaces share."""

    key: float
    key_chance: float
    value: float
    value_chance: float


def sides(change: Change) -> Sides:
    """The sides of a change, found from its factors; of rank 0 where dW is zero."""
    left, left_triangle = torch.linalg.qr(rearrange(change.response, "o r h w -> (o h w) r"))
    right, right_triangle = torch.linalg.qr(change.context.T)
    writes, sizes, reads = torch.linalg.svd(left_triangle @ right_triangle.T)
    kept = sizes > sizes[0] * NEGLIGIBLE
    return Sides(right @ reads[: len(kept)][kept].T, left @ writes[:, : len(kept)][:, kept])


def overlap(one: Sides, other: Sides) -> Overlap:
    """The overlap of two changes of one layer."""
    key, value = _shared(one.keys, other.keys), _shared(one.values, other.values)
    return Overlap(key, _chance(one.keys, other.keys), value, _chance(one.values, other.values))


def cosine(layer: Layer, moments: SecondMoments, one: Change, other: Change) -> float:
    """E <conv(k, dW1), conv(k, dW2)> over natural keys, relative to the product of both RMS: -1 to 1.

    Below zero the changes work against each other. 0 where one of them answers to no natural key at all.
    """
    together = torch.cat([one.context, other.context])
    read = together if len(together) < layer.in_features else None
    gram = expected_patches(layer, moments, read, 0.0)
    first, second = _columns(one, other, read)
    sizes = (first @ gram * first).sum() * (second @ gram * second).sum()
    return float((first @ gram * second).sum() / sizes.sqrt()) if sizes > 0 else 0.0


@dataclass(frozen=True)
class Crowd:
    """The keys of several rules, whitened by the layer's natural keys."""

    shared: tuple[tuple[float, ...], ...]
    """Cosine of every two rules' second moments of keys: 0 where they share no direction, 1 where they share all."""
    conditioning: float
    """Condition number of that matrix: 1 for rules that nothing ties together, without bound for one rule twice."""
    capacity: float
    """Share of the layer's key directions that all rules together take up: effective rank over `in`.

    The effective rank is exp(entropy) of the normalised eigenvalues (Roy & Vetterli 2007); natural keys, being
    whitened, have all of it.
    """


def crowd(evidence: Sequence[Evidence], covariance: Tensor, eps: float) -> Crowd:
    """How rules share a layer, from their replayed keys and E[k k'] (in, in) of natural ones."""
    root = inverse_root(covariance, eps)
    whitened = [_moments(one, root) for one in evidence]
    flat = torch.stack([moments.flatten() / moments.norm() for moments in whitened])
    gram = flat @ flat.T
    values = torch.linalg.eigvalsh(gram)
    condition = float(values[-1] / values[0].clamp(min=values[-1] * 1e-12))
    energies = torch.linalg.eigvalsh(torch.stack(whitened).mean(0)).clamp(min=0)
    energies = energies / energies.sum()
    entropy = -float(torch.special.xlogy(energies, energies).sum())
    shared = tuple(tuple(float(value) for value in row) for row in gram)
    return Crowd(shared, condition, math.exp(entropy) / len(energies))


def _moments(evidence: Evidence, root: Tensor) -> Tensor:
    """Second moments of whitened keys under all taps, of trace 1."""
    keys = rearrange(evidence.weight.sqrt()[:, None, None] * evidence.patches, "p tap i -> (p tap) i") @ root
    moments = keys.T @ keys
    return moments / moments.trace()


def _columns(one: Change, other: Change, read: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both responses (out, taps . read) to the same reading: both contexts one after the other, or all of the key."""
    if read is None:
        first, second = one.dense(), other.dense()
    else:
        first = torch.cat([one.response, torch.zeros_like(other.response)], dim=1)
        second = torch.cat([torch.zeros_like(one.response), other.response], dim=1)
    return rearrange(first, "o r h w -> o (h w r)"), rearrange(second, "o r h w -> o (h w r)")


def _shared(one: Tensor, other: Tensor) -> float:
    return float((one.T @ other).square().sum() / min(one.shape[1], other.shape[1]))


def _chance(one: Tensor, other: Tensor) -> float:
    return max(one.shape[1], other.shape[1]) / one.shape[0]
