"""One layer, several rules: the least correction of their sum after which each one writes what it wrote alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from rewrite.background import Background
from rewrite.composition.changes import side_by_side
from rewrite.composition.changes import whole as whole_change
from rewrite.composition.promise import Promise, written
from rewrite.generator import Layer
from rewrite.memory import Change, expected_energy, gain
from rewrite.rules.context import context, directions
from rewrite.rules.judge import response
from rewrite.rules.solve import JITTER, penalty, truncate

PRICES = (1.0, 0.3, 0.1)
"""What the correction's own effect elsewhere costs, dearest first; at 1 it weighs, as a share of what all rules do
there, like the same share of one promise."""
KEPT = 0.05
"""Largest loss at which a promise counts as kept."""
WIDEST = 4608
"""Unknowns an output channel may have; beyond, the correction reads the leading directions of the rules' keys only."""
ENERGY = 1 - 1e-6
"""Share of the correction's response to natural keys that its stored form keeps."""
HALVINGS = 4
NEGLIGIBLE = 1e-6
"""A loss that is only rounding."""


@dataclass(frozen=True)
class _Tried:
    """A correction at one price, before it is stored."""

    price: float
    change: Change
    losses: Sequence[float]
    elsewhere: float
    """E||dv||^2 of all changes together."""


@dataclass(frozen=True)
class Correction:
    """What is added to a sum of changes, and what it was solved with."""

    change: Change
    price: float
    step: float


def correct(
    layer: Layer, weight: Tensor, world: Background, promises: Sequence[Promise], around: Change | None, eps: float
) -> Correction | None:
    """The correction of the sum of `promises` and of `around`, a change that has no promise of its own.

    Minimises  sum_i loss_i^2 + price . cost(correction) / sum_i cost(rule i)  over changes of every direction, loss_i
    being relative to what rule i promised and cost the penalty of `rules.solve` with mu = nu = 1. Of the prices the
    dearest is taken at which every promise is kept; where none will do (two rules may want two things of one place),
    the one that keeps them best and changes the rest of the world no more than the sum does, or else the dearest. Gains
    are held at those of the sum within the solve; then the true layer decides, and None says that no step improves on
    the sum.
    """
    whole = side_by_side([promise.change for promise in promises] + ([] if around is None else [around]))
    before = losses(layer, weight, promises, whole)
    if max(before) <= NEGLIGIBLE:
        return None
    taps = layer.kernel[0] * layer.kernel[1]
    read = None if layer.in_features * taps <= WIDEST else _leading(promises, world, eps, WIDEST // taps)
    shared = sum(_cost(layer, weight, world, promise.change, eps) for promise in promises)
    cost = penalty(layer, weight, world, read, eps).matrix(1.0, 1.0) / shared
    demands = [_demand(layer, weight, promise, whole, read) for promise in promises]
    rows, wanted = (torch.cat(parts) for parts in zip(*demands, strict=True))
    solve = ridge(rows, wanted, cost)

    def tried(price: float) -> _Tried:
        found = _folded(layer, solve(price), read)
        both = side_by_side([whole, found])
        return _Tried(price, found, losses(layer, weight, promises, both), _everywhere(layer, world, both))

    chosen = _best(map(tried, PRICES), _everywhere(layer, world, whole))
    price, change = chosen.price, chosen.change
    change, _ = truncate(change, world.moments.at((0, 0)), eps, ENERGY)
    own, start = price * _cost(layer, weight, world, change, eps) / shared, _squares(before)
    for step in (0.5**halving for halving in range(HALVINGS)):
        stored = change.scaled(step).rounded()
        after = losses(layer, weight, promises, side_by_side([whole, stored]))
        if _squares(after) + own * step**2 < start:
            return Correction(stored, price, step)
    return None


def _best(tried: Iterable[_Tried], most: float) -> _Tried:
    """The first that keeps every promise; or the best of those that do no more than `most` elsewhere; or the first."""
    seen = []
    for one in tried:
        if max(one.losses) <= KEPT:
            return one
        seen.append(one)
    gentle = [one for one in seen if one.elsewhere <= most]
    return min(gentle, key=lambda one: _squares(one.losses), default=seen[0])


def losses(layer: Layer, weight: Tensor, promises: Sequence[Promise], change: Change) -> list[float]:
    """The loss of each promise under a change, on the true layer."""
    return [promise.loss(written(layer, weight, promise.evidence, change)) for promise in promises]


def _demand(
    layer: Layer, weight: Tensor, promise: Promise, whole: Change, read: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Keys (P, taps . read) and what the sum still owes there (P, out), in units of the promise."""
    evidence = promise.evidence
    after = evidence.value + promise.written
    before, now = (gain(layer, held, evidence.style) for held in (weight, weight + whole.dense()))
    if before is not None and now is not None:
        after = after * (before / now)[evidence.example]
    owed = after - evidence.value - response(evidence, whole)
    keys = evidence.patches if read is None else evidence.patches @ read.T
    share = evidence.weight.sqrt()[:, None] / promise.size
    return share * rearrange(keys, "p tap r -> p (tap r)"), share * owed


def ridge(rows: Tensor, wanted: Tensor, cost: Tensor) -> Callable[[float], Tensor]:
    """X (unknowns, out) minimising ||rows X - wanted||^2 + price . tr(X' cost X), as a function of the price.

    In the smaller of primal and dual; what does not depend on the price is done once.
    """
    positions, unknowns = rows.shape
    cost = cost + JITTER * cost.diagonal().mean() * torch.eye(unknowns, dtype=rows.dtype)
    if unknowns <= positions:
        gram, moments = rows.T @ rows, rows.T @ wanted
        return lambda price: torch.cholesky_solve(moments, torch.linalg.cholesky(gram + price * cost))
    low = torch.linalg.cholesky(cost)
    white = torch.linalg.solve_triangular(low, rows.T, upper=False)
    inner, identity = white.T @ white, torch.eye(positions, dtype=rows.dtype)

    def dual(price: float) -> Tensor:
        weights = torch.cholesky_solve(wanted, torch.linalg.cholesky(inner + price * identity))
        return torch.linalg.solve_triangular(low.T, white @ weights, upper=True)

    return dual


def _folded(layer: Layer, found: Tensor, read: Tensor | None) -> Change:
    height, width = layer.kernel
    made = rearrange(found, "(h w r) o -> o r h w", h=height, w=width)
    return whole_change(made) if read is None else Change(made, read)


def _leading(promises: Sequence[Promise], world: Background, eps: float, most: int) -> Tensor:
    """An orthonormal basis (rank, in) of the directions most peculiar to the contexts of all rules together."""
    seen = [promise.evidence for promise in promises]
    together = replace(
        seen[0],
        context_keys=torch.cat([one.context_keys for one in seen]),
        context_weight=torch.cat([one.context_weight for one in seen]),
    )
    found = directions(together, world.moments.at((0, 0)), eps)
    return context(found, min(most, len(found)))


def _cost(layer: Layer, weight: Tensor, world: Background, change: Change, eps: float) -> float:
    """E||dv||^2 everywhere, and the growth of the weight's norm where there is a gain."""
    matrix = penalty(layer, weight, world, change.context, eps).matrix(1.0, 1.0)
    unfolded = rearrange(change.response, "o r h w -> o (h w r)")
    return float(((unfolded @ matrix) * unfolded).sum())


def _everywhere(layer: Layer, world: Background, change: Change) -> float:
    """E||dv||^2 of a change of any rank, gains aside."""
    return expected_energy(layer, world.moments, change.dense())


def _squares(values: Sequence[float]) -> float:
    return sum(value**2 for value in values)
