"""How far two edits are apart in what they do to the weights, however they are written down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

import edits
from edits.materialise import changes, materialise

BUCKETS = 64
DIGITS = 9
"""Of a number in a sketch, far more than a tolerance asks for."""

Moved = Mapping[str, Tensor]
"""dW by parameter, or sketches of them; float64."""


def moved(edit: edits.Edit, tensors: Mapping[str, Tensor]) -> Moved:
    """What an edit at its own strength adds to each of these weights that it touches, before any rounding."""
    return {
        name: materialise(tensors[name].cpu().double(), found) - tensors[name].cpu().double()
        for name, found in changes(edit, edit.strength).items()
    }


def sketch(changed: Moved) -> dict[str, Tensor]:
    """Each change as BUCKETS numbers: every weight is added to one of them or taken from it, as it was once drawn.

    It is linear, and its squared norm is that of the change on average (Charikar, Chen, Farach-Colton 2002): so it
    tells how far two changes are apart to within a fifth or so, and not what they are.
    """
    return {name: _thrown(change) for name, change in changed.items()}


def stored(sketched: Moved) -> dict[str, tuple[float, ...]]:
    """A sketch as a manifest has it."""
    return {name: tuple(float(f"{x:.{DIGITS}g}") for x in values.tolist()) for name, values in sketched.items()}


def restored(facts: Mapping[str, tuple[float, ...]]) -> Moved:
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in facts.items()}


def apart(one: Moved, other: Moved) -> float:
    """||one - other|| / ||other||, all parameters together; infinite where they are of different parameters."""
    if {name: tensor.shape for name, tensor in one.items()} != {name: tensor.shape for name, tensor in other.items()}:
        return float("inf")
    away = sum(float((one[name] - other[name]).square().sum()) for name in other)
    whole = sum(float(tensor.square().sum()) for tensor in other.values())
    return float((away / whole) ** 0.5) if whole else float("inf")


def _thrown(change: Tensor) -> Tensor:
    values = change.flatten().numpy()
    drawn = np.random.RandomState(0)
    bucket = drawn.randint(0, BUCKETS, len(values), dtype=np.int64)
    sign = 2.0 * drawn.randint(0, 2, len(values), dtype=np.int64) - 1.0
    return torch.from_numpy(np.bincount(bucket, sign * values, BUCKETS))
