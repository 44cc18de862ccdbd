"""The directions of key space that a rule may read: where it applies, and nowhere else if it can be helped."""

from __future__ import annotations

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.rules.evidence import Evidence

FLOOR = 1e-12


def directions(evidence: Evidence, covariance: Tensor, eps: float) -> Tensor:
    """All context directions (count, in), the most peculiar first, not yet orthogonal.

    Keys weighted by coverage and whitened by C^-1/2; their right singular vectors mapped back by C^-1/2. With one key
    this is C^-1 k (Bau et al. 2020, equation 13; the `zca` form of its code). The first r of them, made orthonormal,
    are the context of rank r.
    """
    root = inverse_root(covariance, eps)
    rows = evidence.context_weight[:, None] * (evidence.context_keys @ root)
    _, values, vectors = torch.linalg.svd(rows, full_matrices=False)
    kept = values > values[0] * 1e-9
    return vectors[kept] @ root


def context(found: Tensor, rank: int) -> Tensor:
    """D (rank, in), orthonormal rows, of the leading directions; RewriteError where there are too few."""
    if rank > len(found):
        raise RewriteError(
            f"rank {rank} is more than the {len(found)} independent keys under the context; "
            f"ask for rank {len(found)} or less, or give the context more regions"
        )
    basis, triangle = torch.linalg.qr(found[:rank].T)
    return (basis * triangle.diagonal().sign()).T


def inverse_root(covariance: Tensor, eps: float) -> Tensor:
    """C^-1/2 of C + eps . tr(C)/d . I, in float64; silent directions are floored, never inverted to infinity."""
    size = covariance.shape[0]
    ridge = eps * covariance.diagonal().mean()
    values, vectors = torch.linalg.eigh(covariance + ridge * torch.eye(size, dtype=covariance.dtype))
    values = values.clamp(min=float(values[-1]) * FLOOR)
    return (vectors * values.rsqrt()) @ vectors.T
