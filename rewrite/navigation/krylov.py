"""The largest eigenvalues of a symmetric matrix that is only ever multiplied by blocks of vectors.

Randomised block Krylov iteration (Musco and Musco 2015, "Randomized Block Krylov Methods for Stronger and Faster
Approximate Singular Value Decomposition", algorithm 2): the Ritz pairs of the space that all blocks so far span.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from rewrite import keep
from rewrite.errors import RewriteError
from rewrite.progress import Progress, quiet

OVERSAMPLING = 8
"""Columns of a block beyond the pairs that are asked for."""
WHOLE = 4
"""A space of at most so many blocks is multiplied whole, at once: iterations would cost as much."""
OFTEN = 60.0
"""Seconds between two savings."""

Part = Callable[[Tensor, int], Tensor]
"""Orthonormal vectors (k, d) and the number of a part to that part's share of the product (k, d)."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Eigenvalues (k,), largest first; unit vectors (k, d); residuals (k,), || H v - value v ||; all float64."""

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    trace: float
    """Of the matrix, estimated by the random first block."""
    passes: int
    """How often the whole matrix was multiplied by a block."""
    block: int
    """Vectors in a block."""


@dataclass(frozen=True, eq=False)
class _State:
    basis: Tensor
    """Orthonormal rows (m, d), the last block's product not yet known."""
    products: Tensor
    """Of the blocks before it."""
    partial: Tensor
    """Of the last block, over the parts that are done."""
    done: int


def top(
    part: Part, parts: int, dimension: int, count: int, *,
    tolerance: float = 0.02, passes: int = 8, path: Path | None = None, progress: Progress = quiet, what: str = "",
) -> Pairs:  # fmt: skip
    """The `count` largest eigenvalues of the sum of `parts` shares, with their vectors.

    It stops when every residual is within `tolerance` of its eigenvalue, or after so many `passes`. With a `path` what
    was done is kept there, also when the work is interrupted, and gone on from. RewriteError if more pairs are asked
    for than there are dimensions.
    """
    if not 1 <= count <= dimension:
        raise RewriteError(
            f"{count} directions were asked of a space of {dimension}; ask for 1 to {dimension}, or for a larger ansatz"
        )
    block = count + OVERSAMPLING
    block = dimension if dimension <= WHOLE * block else block
    state = _read(path) or _start(dimension, block)
    while True:
        state = _multiplied(part, parts, state, path, progress, what)
        state = _State(state.basis, torch.cat([state.products, state.partial]), state.partial[:0], parts)
        found = _ritz(state, count, block)
        good = bool((found.residuals <= tolerance * found.values.clamp(min=0)).all())
        fresh = _fresh(state, block) if not good and found.passes < passes else state.basis[:0]
        if not len(fresh):
            return found
        state = _State(torch.cat([state.basis, fresh]), state.products, torch.zeros_like(fresh), 0)


def _multiplied(part: Part, parts: int, state: _State, path: Path | None, progress: Progress, what: str) -> _State:
    vectors = state.basis[len(state.products) :]
    label = f"{what}, pass {len(state.basis) // max(len(vectors), 1)}"
    saved, kept = time.monotonic(), state.done
    try:
        while state.done < parts:
            progress(label, state.done, parts)
            state = replace(state, partial=state.partial + part(vectors, state.done), done=state.done + 1)
            if path is not None and time.monotonic() - saved > OFTEN:
                _write(path, state)
                saved, kept = time.monotonic(), state.done
    finally:
        if path is not None and state.done > kept:
            _write(path, state)
    progress(label, parts, parts)
    return state


def _start(dimension: int, block: int) -> _State:
    drawn = torch.randn(dimension, block, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(drawn).Q.T.contiguous()
    return _State(basis, basis[:0], torch.zeros_like(basis), 0)


def _ritz(state: _State, count: int, block: int) -> Pairs:
    small = state.basis @ state.products.T
    values, mixes = torch.linalg.eigh((small + small.T) / 2)
    values, mixes = values.flip(0)[:count], mixes.flip(1)[:, :count].T
    vectors = mixes @ state.basis
    # Of a vector and its negative, the one whose largest coefficient is positive.
    signs = vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()
    residuals = (mixes @ state.products - values[:, None] * vectors).norm(dim=1)
    first = (state.basis[:block] * state.products[:block]).sum()
    trace = float(first) * state.basis.shape[1] / block
    return Pairs(values, vectors * signs, residuals, trace, -(-len(state.basis) // block), block)


def _fresh(state: _State, block: int) -> Tensor:
    """What the last product holds that the basis does not, orthonormal; fewer rows where it holds less."""
    last = state.products[-min(block, len(state.products)) :]
    scale = last.norm()
    for _ in range(2):
        last = last - (last @ state.basis.T) @ state.basis
    left = min(len(last), state.basis.shape[1] - len(state.basis))
    _, sizes, rows = torch.linalg.svd(last, full_matrices=False)
    rows = rows[: min(left, int((sizes > 1e-10 * scale).sum()))]
    rows = rows - (rows @ state.basis.T) @ state.basis
    return torch.linalg.qr(rows.T).Q.T.contiguous()


def _write(path: Path, state: _State) -> None:
    keep.write(path, {
        "basis": state.basis, "products": state.products, "partial": state.partial, "done": torch.tensor(state.done),
    })  # fmt: skip


def _read(path: Path | None) -> _State | None:
    found = None if path is None else keep.read(path)
    if found is None:
        return None
    return _State(found["basis"], found["products"], found["partial"], int(found["done"]))
