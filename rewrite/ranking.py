"""Units ranked inside a region, with no segmenter."""

from __future__ import annotations

from torch import Tensor


def by_energy(keys: Tensor, weight: Tensor, expected: Tensor) -> Tensor:
    """Units from the most to the least peculiar to a region.

    The score of unit u is the weighted mean of k_u^2 over the region, divided by its mean everywhere (Bau et al. 2020,
    "Rewriting a Deep Generative Model", the ranking of its watermark baseline). `keys` (P, C), `weight` (P,) and
    `expected` = E[k_u^2] (C,); units that are silent everywhere come last.
    """
    inside = (weight[:, None] * keys.double() ** 2).sum(0) / weight.sum()
    score = inside / expected.double().clamp(min=expected.max().item() * 1e-12)
    return score.argsort(descending=True, stable=True)
