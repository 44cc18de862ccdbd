"""Kernel distances: the squared maximum mean discrepancy under a cubic kernel, unbiased.

Gretton et al. 2012, "A Kernel Two-Sample Test"; Bińkowski et al. 2018, "Demystifying MMD GANs" (KID, and its kernel).
Kernel matrices are made in blocks of rows and never held.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.perception.features import Features
from rewrite.perception.figure import Figure
from rewrite.perception.identity import agreed

ROWS = 1024
"""Rows of a block: 8 MB a matrix of float64."""


def kid(one: Features, other: Features) -> Figure:
    """MMD^2 between independent samples, of all of both at once.

    Of images with seeds in common it is biased downwards: there, `paired_kid` is meant.
    """
    identity = agreed(one.identity, other.identity)
    x, y = _enough(one), _enough(other)
    inside = sum((_inside(z) for z in (x, y)), 0.0)
    across = sum(float(_kernel(a, b).sum()) for _, a in _blocks(x) for _, b in _blocks(y))
    value = inside - 2 * across / (len(x) * len(y))
    return Figure("KD", value, identity, (len(x), len(y)), depends_on_samples=False)


def paired_kid(one: Features, other: Features, *, level: float = 0.95) -> Figure:
    """MMD^2 between samples of which each row shares its seed with the same row of the other, with its interval.

    The mean over i != j of h(i, j) = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i), Gretton's U-statistic: it
    leaves out k(x_i, y_i), so it stays unbiased however x_i and y_i depend on each other, and is exactly 0 from a thing
    to itself. The interval is normal, with the standard error 2 sd(row means of h) / sqrt(N).
    """
    identity = agreed(one.identity, other.identity)
    x, y = _enough(one), _enough(other)
    if len(x) != len(y):
        raise RewriteError(f"a paired distance was given {len(x)} and {len(y)} images; expected one to one, by seed")
    count = len(x)
    rows = torch.zeros(count, dtype=torch.float64)
    for here, (a, b) in _pairs(x, y):
        for there, (c, d) in _pairs(x, y):
            if there.start < here.start:
                continue
            # From a thing to itself both brackets are of the same products in the same order: 0 to the bit.
            h = (_kernel(a, c) - _kernel(a, d)) + (_kernel(b, d) - _kernel(b, c))
            if here == there:
                h.fill_diagonal_(0)
            else:
                rows[there] += h.sum(0)
            rows[here] += h.sum(1)
    rows /= count - 1
    value, error = float(rows.mean()), 2 * float(rows.std()) / count**0.5
    reach = NormalDist().inv_cdf(0.5 + level / 2) * error
    interval = (value - reach, value + reach)
    return Figure("paired KD", value, identity, (count, count), interval, depends_on_samples=False)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _inside(x: Tensor) -> float:
    """Mean of k over pairs of different rows."""
    total = 0.0
    for here, a in _blocks(x):
        for there, b in _blocks(x):
            if there.start == here.start:
                total += float(_kernel(a, a).fill_diagonal_(0).sum())
            elif there.start > here.start:
                total += 2 * float(_kernel(a, b).sum())
    return total / (len(x) * (len(x) - 1))


def _blocks(x: Tensor) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(x), ROWS):
        yield slice(start, start + ROWS), x[start : start + ROWS]


def _pairs(x: Tensor, y: Tensor) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
    for place, block in _blocks(x):
        yield place, (block, y[place])


def _enough(features: Features) -> Tensor:
    if len(features) < 2:
        raise RewriteError("a kernel distance was given one image; expected two of each side at least")
    return features.values.double()
