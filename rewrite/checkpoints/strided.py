"""Tensors before they are read: views of numbers that lie somewhere in a file, checked to lie inside of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rewrite.errors import RewriteError

RANK_LIMIT = 16
EMPTY_LIMIT = 2**31
"""Of the axes of a tensor without elements, but for those of length 0: it would list as many empty rows."""


@dataclass(slots=True, eq=False)
class Storage:
    """Numbers in a row, of which tensors are views. `view` is their bytes, once it is known where they lie."""

    dtype: torch.dtype
    count: int
    view: memoryview | None = None
    offset: int | None = None

    def fill(self, view: memoryview, offset: int | None) -> None:
        """These are its bytes; RewriteError unless it has as many as it claims."""
        if len(view) != self.count * self.dtype.itemsize:
            raise RewriteError(
                f"a storage of {self.count} {self.dtype} is given {len(view)} bytes; expected "
                f"{self.count * self.dtype.itemsize}"
            )
        self.view, self.offset = view, offset


@dataclass(slots=True, eq=False)
class Strided:
    """A tensor or an array, as a view of a storage; `strided` checks that it is one."""

    storage: Storage
    dtype: torch.dtype
    start: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def strided(storage: Storage, start: Any, shape: Any, stride: Any, dtype: torch.dtype | None = None) -> Strided:
    """The view, which lies inside its storage and has no more elements than that; RewriteError if it does not.

    Of an untyped storage, `dtype` says what its bytes are.
    """
    dtype = dtype or storage.dtype
    count = storage.count * storage.dtype.itemsize // dtype.itemsize
    if (
        type(shape) is not tuple
        or type(stride) is not tuple
        or not len(shape) == len(stride) <= RANK_LIMIT
        or not all(type(n) is int and n >= 0 for n in (start, *shape, *stride))
    ):
        raise RewriteError("a tensor has a shape, strides or a beginning that no tensor has")
    elements, reach, empty = 1, 1 + start, 0 in shape
    most, furthest = (EMPTY_LIMIT, reach) if empty else (count, count)
    for n, step in zip(shape, stride, strict=True):
        # Bounded as it grows: the factors of a lie have any length.
        elements, reach = elements * max(n, 1), reach + (0 if empty else (n - 1) * step)
        if elements > most or reach > furthest:
            break
    if elements > most or reach > furthest:
        raise RewriteError(
            f"a tensor of shape {_short(shape)} reaches beyond its storage of {count} numbers, or repeats them"
        )
    return Strided(storage, dtype, start, shape, stride)


def _short(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(str(n) if n < 2**63 else "a huge number" for n in shape) + ")"


def steps(shape: tuple[int, ...], *, fortran: bool) -> tuple[int, ...]:
    """The strides of an array without gaps, in elements."""
    found, step = [], 1
    for n in shape if fortran else reversed(shape):
        found.append(step)
        step = min(step * max(n, 1), 2**63)
    return tuple(found if fortran else reversed(found))


__all__ = ["RANK_LIMIT", "Storage", "Strided", "steps", "strided"]
