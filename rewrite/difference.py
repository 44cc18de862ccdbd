"""The edit that leads from one checkpoint to another of its architecture: fine-tunes join the composition.

Each tensor that differs is kept by as few ranks as hold the energy asked for, or dense where that takes less room;
biases and vectors are dense. The best change of a given rank is that of the largest singular values (Eckart and Young
1936).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor

from edits import Add, Base, Dense, Edit, LowRank, Slices, describe, identity, materialise, ties
from edits.finite import finite
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.progress import Progress, quiet

ENERGY = 0.999
"""Share of a difference's squared norm that `auto` keeps in each tensor."""
NOISE = 1e-14
"""Squared singular values below this share of the largest are those of rounding."""


def diff(
    base: Generator,
    changed: Generator | Mapping[str, Tensor],
    *,
    rank: int | Literal["auto", "full"] = "auto",
    energy: float = ENERGY,
    progress: Progress = quiet,
) -> Edit:
    """The edit of `base` that makes it `changed`, a generator of the same architecture or its state dict.

    `rank` is one for all tensors; "auto" takes for each the least that keeps `energy`; with "full" nothing is left out,
    and base and edit are `changed`, number for number, wherever float32 can say so. The edit's notes tell what each
    tensor keeps, and what is left of the difference. RewriteError if nothing differs, or the two do not fit.
    """
    if not (rank in ("auto", "full") or (type(rank) is int and rank > 0)) or not 0 < energy <= 1:
        raise RewriteError(
            f"rank is {rank!r} and energy {energy!r}; expected a whole number from 1 up, auto or full, and an energy "
            f"above 0 and up to 1"
        )
    before = identity.state(base.module)
    after = identity.state(changed.module if isinstance(changed, Generator) else changed)
    _check_alike(before, after)
    layers = {layer.weight: layer for layer in base.layers.values()}
    differing, left_out = _differing(before, after)
    operations, kept = {}, {}
    for done, name in enumerate(differing):
        progress("differences", done, len(differing))
        operations[name] = tuple(_adds(layers.get(name), before[name], after[name], rank, energy))
        kept[name] = _kept(operations[name], before[name], after[name])
    progress("differences", len(differing), len(differing))
    return Edit(
        operations,
        _base(base, operations),
        made_by={"tool": "rewrite", "version": version("rewrite"), "verb": "diff"},
        notes={
            "rank": rank,
            **({"energy": energy} if rank == "auto" else {}),
            "towards": identity.Look(after).together(sorted(operations), torch.float32),
            "tensors": {name: one.facts() for name, one in kept.items()},
            "energy_kept": _short(1 - _total(kept, "missed") / _total(kept, "whole")),
            "numbers_that_differ": sum(one.differ for one in kept.values()),
            "largest_difference": _short(max(one.largest for one in kept.values())),
            "left_out": left_out,
        },
    )


@dataclass(frozen=True)
class _Kept:
    """How near base and edit come to what was to be reached, in one tensor."""

    rank: int | None
    whole: float
    """Squared norm of the difference."""
    missed: float
    """Squared norm of what is missing of it."""
    differ: int
    """Numbers that are not those that were to be reached."""
    largest: float
    """By how much, at most."""

    def facts(self) -> dict[str, Any]:
        return {"rank": self.rank, "energy_kept": _short(1 - self.missed / self.whole), "differ": self.differ}


def _check_alike(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    if lone := sorted(before.keys() ^ after.keys()):
        raise RewriteError(
            f"the checkpoints are of two architectures: {lone[0]} is in one of them only ({len(lone)} names are); "
            f"expected the same names and shapes"
        )
    for name, tensor in before.items():
        if tensor.shape != after[name].shape:
            raise RewriteError(
                f"the checkpoints are of two architectures: {name} is {tuple(tensor.shape)} in one of them and "
                f"{tuple(after[name].shape)} in the other; expected the same names and shapes"
            )
        if not (finite(tensor) and finite(after[name])):
            raise RewriteError(f"{name} holds NaN or infinity in one of the checkpoints; get a sound copy of it")


def _differing(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Names of tensors to change, one for each tied tensor; and of those that differ but that no edit can change."""
    tied = ties.groups(before)
    unequal = [name for name in before if not torch.equal(_numbers(before[name]), _numbers(after[name]))]
    editable = [name for name in unequal if before[name].dtype in identity.EDITABLE]
    for name in editable:
        if strangers := [
            other for other in tied[name] if not torch.equal(_numbers(after[other]), _numbers(after[name]))
        ]:
            raise RewriteError(f"{name} and {strangers[0]} are one tensor in the base and two in the other checkpoint")
    if not editable:
        raise RewriteError("the checkpoints hold the same weights; expected two that differ, so give another one")
    return [name for name in editable if name == tied[name][0]], [name for name in unequal if name not in editable]


def _adds(
    layer: Layer | None, before: Tensor, after: Tensor, rank: int | Literal["auto", "full"], energy: float
) -> Iterator[Add]:
    difference = _numbers(after) - _numbers(before)
    if rank != "full" and difference.ndim > 1:
        splits = (_Split.of(difference, *axes) for axes in _splits(layer, difference.ndim))
        found = [(split, split.rank_for(energy) if rank == "auto" else min(rank, split.rank)) for split in splits]
        # The least room; at one rank for all, the most energy.
        split, least = min(
            found, key=lambda one: (-one[0].energy(one[1]) if rank != "auto" else 0, one[0].room(one[1]))
        )
        if split.room(least) < difference.numel():
            yield split.add(least)
            return
    yield from _dense(before, after, difference)


def _dense(before: Tensor, after: Tensor, difference: Tensor) -> Iterator[Add]:
    """The difference in float32; and, in rows where that rounds to other numbers, what is missing of it."""
    shape, first = tuple(difference.shape), difference.float()
    yield Add(shape, Dense(first))
    reached = materialise.rounded(_numbers(before) + first.double(), before.dtype)
    rest, short = (difference - first.double()).float(), reached.double() != _numbers(after)
    if not rest[short].any():
        return
    if not shape:
        yield Add(shape, Dense(rest))
        return
    rows = short.reshape(shape[0], -1).any(1).nonzero()[:, 0]
    yield Add(shape, Slices(0, rows, rest[rows]))


def _splits(layer: Layer | None, axes: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Ways to make a matrix of a tensor: the kernel with the outputs, as in a rule, or with the inputs."""
    out, into = (0, 1) if layer is None else (layer.out_axis, layer.in_axis)
    rest = tuple(axis for axis in range(axes) if axis not in (out, into))
    return [((out, *rest), (into,)), ((out,), (into, *rest))]


@dataclass(frozen=True)
class _Split:
    """A difference as a matrix (rows, columns), and its singular vectors on the smaller side."""

    matrix: Tensor
    shape: tuple[int, ...]
    left_axes: tuple[int, ...]
    right_axes: tuple[int, ...]
    squares: Tensor
    """Squared singular values, the largest first."""
    vectors: Tensor

    @staticmethod
    def of(difference: Tensor, left_axes: tuple[int, ...], right_axes: tuple[int, ...]) -> _Split:
        rows = 1
        for axis in left_axes:
            rows *= difference.shape[axis]
        matrix = difference.permute(*left_axes, *right_axes).reshape(rows, -1)
        gram = matrix.T @ matrix if matrix.shape[1] <= rows else matrix @ matrix.T
        squares, vectors = torch.linalg.eigh(gram)
        return _Split(matrix, tuple(difference.shape), left_axes, right_axes, squares.flip(0), vectors.flip(1))

    @property
    def rank(self) -> int:
        """As far as rounding lets it be told; 1 at least."""
        return int((self.squares > NOISE * self.squares[0]).sum())

    def energy(self, rank: int) -> float:
        return float(self.squares[:rank].sum() / self.squares.sum())

    def rank_for(self, energy: float) -> int:
        enough = self.squares.cumsum(0) >= energy * self.squares[: self.rank].sum()
        return min(int((~enough).sum()) + 1, self.rank)

    def room(self, rank: int) -> int:
        return rank * sum(self.matrix.shape)

    def add(self, rank: int) -> Add:
        """The best change of that rank, the sizes of its factors balanced."""
        own, sizes = self.vectors[:, :rank], self.squares[:rank].sqrt().sqrt()
        if self.matrix.shape[1] <= self.matrix.shape[0]:
            left, right = self.matrix @ own / sizes, (own * sizes).T
        else:
            left, right = own * sizes, (own / sizes).T @ self.matrix
        return Add(self.shape, LowRank(left.float(), right.float(), self.left_axes, self.right_axes))


def _kept(adds: tuple[Add, ...], before: Tensor, after: Tensor) -> _Kept:
    changes = [materialise.Change("", "", position, 1.0, add) for position, add in enumerate(adds)]
    wanted, reached = _numbers(after), materialise.materialise(before, changes).double()
    missing = wanted - reached
    return _Kept(
        rank=adds[0].rank,
        whole=float((wanted - _numbers(before)).square().sum()),
        missed=float(missing.square().sum()),
        differ=int((missing != 0).sum()),
        largest=float(missing.abs().max()),
    )


def _base(generator: Generator, operations: Mapping[str, object]) -> Base:
    touched = [layer for layer in generator.layers.values() if {layer.weight, layer.bias} & operations.keys()]
    upstream = {name for layer in touched for name in layer.upstream}
    return describe(generator.module, operations, upstream, generator.architecture)


def _numbers(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


def _total(kept: Mapping[str, _Kept], what: str) -> float:
    return sum(getattr(one, what) for one in kept.values())


def _short(value: float) -> float:
    return float(f"{value:.9g}")


__all__ = ["ENERGY", "diff"]
