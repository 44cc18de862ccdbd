"""Base and changes to weights: a pure function, in float64 on the CPU, rounded once.

The order in which changes are given does not matter, to the bit: they act sorted by class, then by content
digest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from edits.edit import Edit
from edits.operations import Add, LowRank, Operation, Scale, Set, Slices


@dataclass(frozen=True)
class Change:
    """One operation at one strength, and its place: an edit's content, a parameter's name, an index."""

    content: str
    name: str
    position: int
    strength: float
    operation: Operation

    @property
    def place(self) -> tuple[str, str, int]:
        return self.content, self.name, self.position


def changes(edit: Edit, strength: float) -> dict[str, list[Change]]:
    """What the edit does at a strength, by parameter name: nothing at strength 0, names still listed."""
    found: dict[str, list[Change]] = {name: [] for name in edit.touched}
    for member, reached in edit.parts(strength):
        for name, operations in member.operations.items() if reached else ():
            found[name] += [Change(member.content, name, i, reached, o) for i, o in enumerate(operations)]
    return found


def materialise(base: Tensor, changes: Iterable[Change]) -> Tensor:
    """The base with these changes: a CPU tensor of the base's shape and type; the base's own bits if there
    are none.

    Values out of the type's range come out as infinity: the caller says what that means.
    """
    ordered = sorted(changes, key=lambda change: change.place)
    if not ordered:
        return base.detach().cpu().clone(memory_format=torch.contiguous_format)
    weights = base.detach().to("cpu", torch.float64, copy=True).contiguous()
    _add_low_rank(weights, ordered)
    for change in ordered:
        if isinstance(change.operation, Add) and not isinstance(change.operation.form, LowRank):
            _add(weights, change.operation, change.strength)
    for change in ordered:
        if isinstance(change.operation, Scale):
            _scale(weights, change.operation, change.strength)
    for change in ordered:
        if isinstance(change.operation, Set):
            _set(weights, change.operation)
    return rounded(weights, base.dtype)


def rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """float64 values rounded once to `dtype`, to nearest, ties to even."""
    if dtype not in (torch.float16, torch.bfloat16):
        return values.to(dtype)
    # torch narrows float64 to 16 bits by way of float32, rounding twice. Rounding the first time to odd (an
    # inexact float32 gets a last bit of 1) leaves the second rounding nothing to get wrong.
    near = values.to(torch.float32)
    even = (near.view(torch.int32) & 1) == 0
    beyond = torch.where(values > near.double(), math.inf, -math.inf).to(torch.float32)
    inexact = near.double() != values
    return torch.where(inexact & even, torch.nextafter(near, beyond), near).to(dtype)


def _add_low_rank(weights: Tensor, ordered: list[Change]) -> None:
    splits: dict[tuple[tuple[int, ...], tuple[int, ...]], list[tuple[LowRank, float]]] = {}
    for change in ordered:
        if isinstance(change.operation, Add) and isinstance(change.operation.form, LowRank):
            form = change.operation.form
            splits.setdefault((form.left_axes, form.right_axes), []).append((form, change.strength))
    for (left_axes, right_axes), group in sorted(splits.items(), key=lambda item: item[0]):
        left = torch.cat([strength * form.left.double() for form, strength in group], dim=1)
        right = torch.cat([form.right.double() for form, _ in group], dim=0)
        axes = left_axes + right_axes
        back = sorted(range(len(axes)), key=axes.__getitem__)
        weights += (left @ right).reshape([weights.shape[axis] for axis in axes]).permute(back)


def _add(weights: Tensor, add: Add, strength: float) -> None:
    if isinstance(add.form, Slices):
        weights.index_add_(add.form.axis, add.form.index, strength * add.form.values.double())
    elif not isinstance(add.form, LowRank):
        weights += strength * add.form.dense.double()


def _scale(weights: Tensor, scale: Scale, strength: float) -> None:
    # 1 + a.(s - 1), written so that strength 1 gives s itself.
    factors = (1 - strength) + strength * scale.factors.double()
    along = [1] * weights.ndim
    along[scale.axis] = len(factors)
    slices = weights.index_select(scale.axis, scale.index) * factors.reshape(along)
    weights.index_copy_(scale.axis, scale.index, slices)


def _set(weights: Tensor, operation: Set) -> None:
    form = operation.form
    if isinstance(form, Slices):
        weights.index_copy_(form.axis, form.index, form.values.double())
    else:
        weights.view(-1)[form.index] = form.values.double()
