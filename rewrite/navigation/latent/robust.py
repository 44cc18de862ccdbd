"""A matrix as a low-rank part and a sparse one."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-7
STEPS = 1_000


def low_rank_part(matrix: Tensor, *, sparsity: float | None = None) -> tuple[Tensor, Tensor]:
    """Low-rank and sparse parts of a matrix (n, m) float64: least nuclear norm plus `sparsity` times absolute sum.

    Principal component pursuit (Candes, Li, Ma and Wright 2011, "Robust principal component analysis?", algorithm 1);
    `sparsity` is 1 / sqrt(max(n, m)) where it is left out.
    """
    weight = sparsity or max(matrix.shape) ** -0.5
    size = matrix.norm()
    if not float(size) > 0:
        return matrix.clone(), torch.zeros_like(matrix)
    step = matrix.numel() / (4 * matrix.abs().sum())
    sparse, dual = torch.zeros_like(matrix), torch.zeros_like(matrix)
    low = matrix
    for _ in range(STEPS):
        u, sizes, v = torch.linalg.svd(matrix - sparse + dual / step, full_matrices=False)
        low = (u * (sizes - 1 / step).clamp(min=0)) @ v
        rest = matrix - low + dual / step
        sparse = rest.sign() * (rest.abs() - weight / step).clamp(min=0)
        missing = matrix - low - sparse
        dual = dual + step * missing
        if float(missing.norm()) <= TOLERANCE * float(size):
            break
    return low, sparse
