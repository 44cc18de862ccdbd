"""Units ranked inside a region, with no segmenter."""

from __future__ import annotations

import torch
from torch import Tensor

from rewrite.stats import Histogram


def by_energy(keys: Tensor, weight: Tensor, expected: Tensor) -> Tensor:
    """Units from the most to the least peculiar to a region.

    The score of unit u is the weighted mean of k_u^2 over the region, divided by its mean everywhere (Bau et al. 2020,
    "Rewriting a Deep Generative Model", the ranking of its watermark baseline). `keys` (P, C), `weight` (P,) and
    `expected` = E[k_u^2] (C,); units that are silent everywhere come last.
    """
    inside = (weight[:, None] * keys.double() ** 2).sum(0) / weight.sum()
    score = inside / expected.double().clamp(min=expected.max().item() * 1e-12)
    return score.argsort(descending=True, stable=True)


def rarity(values: Tensor, weight: Tensor, natural: Histogram) -> Tensor:
    """How rare each unit's values in a region are, (C,) float64, higher is rarer.

    The weighted mean of -log q, q the share of a unit's natural values that are at least as high (Bau et al. 2020,
    "Rewriting a Deep Generative Model", the units that its user study of dissection edits). `values` (P, C), `weight`
    (P,), `natural` with a row a unit. A value beyond all natural ones counts as the first of so many and a half.
    """
    least = 0.5 / natural.counts.sum(1).clamp(min=1).double()
    share = torch.maximum(1 - natural.rank(values), least)
    return -(weight.double()[:, None] * share.log()).sum(0) / weight.double().sum()
