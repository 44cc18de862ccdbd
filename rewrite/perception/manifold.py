"""Precision, recall, density and coverage: whose samples lie among whose neighbours.

Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric" (precision, recall); Naeem et al. 2020, "Reliable
Fidelity and Diversity Metrics for Generative Models" (density, coverage). Around each sample lies a ball that reaches
to its k-th neighbour of its own kind, and does not hold that neighbour. Distances are made in blocks of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.perception.features import Features
from rewrite.perception.figure import Figure
from rewrite.perception.identity import agreed

NEIGHBOURS = 5
ROWS = 1024


@dataclass(frozen=True)
class Manifold:
    """Each from 0 to 1, but density, which is 1 in the mean where the two are alike."""

    precision: Figure
    """Share of samples that lie in a ball of the reference."""
    recall: Figure
    """Share of the reference that lies in a ball of the samples."""
    density: Figure
    """In how many balls of the reference a sample lies, over k."""
    coverage: Figure
    """Share of the reference whose ball holds a sample."""


def prdc(reference: Features, samples: Features, *, k: int = NEIGHBOURS) -> Manifold:
    """All four, of two samples of independent seeds: with seeds in common, precision and recall are 1 for any edit.

    RewriteError if the identities differ, or if one has no more than k images.
    """
    identity = agreed(reference.identity, samples.identity)
    real, made = reference.values.double(), samples.values.double()
    if k < 1 or min(len(real), len(made)) <= k:
        raise RewriteError(
            f"neighbours of order {k} were asked of {min(len(real), len(made))} images; expected 1 <= k < images"
        )
    made_reach = torch.cat([_reach(block, made, k) for block in made.split(ROWS)])
    balls = torch.zeros(len(made), dtype=torch.int64)
    recalled, covered = 0, 0
    for block in real.split(ROWS):
        # Of one shape and order with the distances below, so that nothing but position decides.
        reach = _reach(block, real, k)
        apart = _apart(block, made)
        inside = apart < reach[:, None]
        balls += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int((apart < made_reach).any(1).sum())
    figures = {
        "precision": float((balls > 0).double().mean()),
        "recall": recalled / len(real),
        "density": float(balls.double().mean()) / k,
        "coverage": covered / len(real),
    }
    counts = (len(real), len(made))
    return Manifold(**{name: Figure(f"{name} k={k}", value, identity, counts) for name, value in figures.items()})


def _reach(block: Tensor, kind: Tensor, k: int) -> Tensor:
    """Squared distance to the k-th neighbour, each row itself being its own nearest."""
    return _apart(block, kind).topk(k + 1, largest=False).values[:, -1]


def _apart(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances (n, m)."""
    return torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1), x, y.T, alpha=-2).clamp(min=0)
