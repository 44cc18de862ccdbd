"""Latents by name: a seed, a row of one seeded stream, or a stored vector."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rewrite.errors import RewriteError

SEED_LIMIT = 2**32
ROW_LIMIT = 2**16


@dataclass(frozen=True)
class Row:
    """Row `row` of the stream RandomState(stream).standard_normal: the convention of Dissection and Rewriting."""

    stream: int
    row: int


@dataclass(frozen=True)
class Vector:
    """A stored latent."""

    values: tuple[float, ...]


Name = int | Row | Vector


def draw(names: Iterable[Name], size: int) -> Tensor:
    """Latents (N, size) float32 of these names; an int s is RandomState(s).standard_normal(size), as at NVIDIA."""
    drawn = [_one(name, size) for name in names]
    return torch.from_numpy(np.stack(drawn).astype(np.float32)) if drawn else torch.empty(0, size)


def _one(name: Name, size: int) -> np.ndarray:
    if isinstance(name, Vector):
        if len(name.values) != size:
            raise RewriteError(f"a stored latent has {len(name.values)} numbers and this generator takes {size}")
        return np.array(name.values)
    if isinstance(name, Row):
        if not 0 <= name.row < ROW_LIMIT:
            raise RewriteError(f"row {name.row} is out of range; rows run from 0 to {ROW_LIMIT - 1}")
        return _stream(name.stream, _power_of_two_above(name.row), size)[name.row]
    return np.random.RandomState(_checked(name)).standard_normal(size)


@lru_cache(maxsize=2)
def _stream(stream: int, count: int, size: int) -> np.ndarray:
    """The first `count` rows: a longer draw begins with the same numbers, so any count that reaches a row will do."""
    return np.random.RandomState(_checked(stream)).standard_normal(count * size).reshape(count, size)


def _power_of_two_above(row: int) -> int:
    return 1 << max(row, 63).bit_length()


def _checked(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < SEED_LIMIT:
        raise RewriteError(f"{seed!r} is no seed; seeds are whole numbers from 0 to {SEED_LIMIT - 1}")
    return int(seed)
