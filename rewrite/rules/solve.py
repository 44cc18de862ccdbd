"""The closed form: a rule as one small least-squares problem."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from rewrite.background import Background
from rewrite.generator import Layer
from rewrite.memory import Change, expected_energy, expected_patches
from rewrite.rules.context import inverse_root
from rewrite.rules.evidence import Evidence

ENERGY = 0.9999
"""Share of a full-rank change's response that its stored, truncated form keeps."""
JITTER = 1e-10
KAPPA_CHANNELS = 64


@dataclass(frozen=True)
class Penalty:
    """What a unit of change costs elsewhere: B = mu . E[u u'] + nu . kappa . E[s^2], for one context D."""

    everywhere: Tensor
    """E[u u'] (taps.rank, taps.rank)."""
    norm: Tensor | None
    """kappa . D diag(E[s^2]) D' on each tap, or None where there is no gain."""

    def matrix(self, mu: float, nu: float) -> Tensor:
        total = mu * self.everywhere
        return total if self.norm is None else total + nu * self.norm


def penalty(layer: Layer, weight: Tensor, world: Background, context: Tensor | None, eps: float) -> Penalty:
    """The penalty of changes that read `context` (rank, in), or every direction where it is None."""
    everywhere = expected_patches(layer, world.moments, context, eps)
    square = world.style_square
    if square is None:
        return Penalty(everywhere, None)
    # kappa: a relative growth of the norm weighs like an equal relative change of the output. It is a mean over
    # output channels, which an even sample of them tells well enough.
    sample = weight[:: max(1, len(weight) // KAPPA_CHANNELS)]
    kappa = expected_energy(layer, world.moments, sample) / float(square @ (sample**2).sum((0, 2, 3)))
    shared = torch.diag(square) if context is None else (context * square) @ context.T
    taps = everywhere.shape[0] // shared.shape[0]
    return Penalty(everywhere, kappa * torch.kron(torch.eye(taps, dtype=shared.dtype), shared))


def solve(evidence: Evidence, layer: Layer, context: Tensor | None, cost: Tensor) -> Change:
    """The change L D that minimises sum_p m_p ||r_p - L u_p||^2 + sum_p m_p . tr(L B L'), B = `cost`.

    With D given this is one Gram matrix for all output channels. Without (full rank) it is solved in the dual where
    positions are fewer than unknowns. (Bau et al. 2020, equation 14, with the expectation of equation 5 kept as a
    penalty.)
    """
    read = evidence.patches if context is None else evidence.patches @ context.T
    u = rearrange(read, "p tap r -> p (tap r)")
    root = evidence.weight.sqrt()[:, None]
    residual = root * (evidence.target - evidence.value)
    flat = least_squares(root * u, residual, evidence.weight.sum() * cost)
    height, width = layer.kernel
    response = rearrange(flat, "(h w r) o -> o r h w", h=height, w=width)
    if context is None:
        context = torch.eye(response.shape[1], dtype=response.dtype)
    return Change(response, context)


def least_squares(rows: Tensor, wanted: Tensor, cost: Tensor) -> Tensor:
    """X (unknowns, out) minimising ||rows X - wanted||^2 + tr(X' cost X), in the smaller of primal and dual."""
    positions, unknowns = rows.shape
    identity = torch.eye(unknowns, dtype=rows.dtype)
    scale = cost.diagonal().mean() + (rows**2).sum() / unknowns
    cost = cost + JITTER * scale * identity
    if unknowns <= positions:
        return torch.cholesky_solve(rows.T @ wanted, torch.linalg.cholesky(rows.T @ rows + cost))
    spread = torch.cholesky_solve(rows.T, torch.linalg.cholesky(cost))
    inner = rows @ spread + torch.eye(positions, dtype=rows.dtype)
    return spread @ torch.cholesky_solve(wanted, torch.linalg.cholesky(inner))


def truncate(change: Change, covariance: Tensor, eps: float, energy: float = ENERGY) -> tuple[Change, float]:
    """The change at the least rank that keeps `energy` of its response to natural keys, and the share it keeps.

    Singular values are those of dW C^1/2, so that a direction counts by how much of it there is.
    """
    root = inverse_root(covariance, eps)
    flat = rearrange(change.response, "o r h w -> (o h w) r") @ change.context
    left, values, right = torch.linalg.svd(torch.linalg.solve(root, flat, left=False), full_matrices=False)
    kept_energy = values.square().cumsum(0) / values.square().sum()
    rank = int((kept_energy < energy).sum()) + 1
    height, width = change.response.shape[2:]
    back, triangle = torch.linalg.qr((right[:rank] @ root).T)
    scaled = (left[:, :rank] * values[:rank]) @ triangle.T
    response = rearrange(scaled, "(o h w) r -> o r h w", h=height, w=width)
    return Change(response, back.T), float(kept_energy[rank - 1])
