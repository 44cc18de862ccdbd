"""Changes of one tensor that cannot be had together: found before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from edits.errors import EditError
from edits.materialise import Change
from edits.operations import Add, LowRank, Set, Side, Slices

ORTHOGONAL = 1e-4
"""Largest cosine between two spaces that count as orthogonal; factors are float32."""
_NEGLIGIBLE = 1e-6


def check(plan: Mapping[str, Sequence[Change]]) -> None:
    """EditError if two sets of an element differ, or two projective adds of a tensor are not orthogonal."""
    for name, changes in plan.items():
        ordered = sorted(changes, key=lambda change: change.place)
        _check_sets(name, ordered)
        for one, other in combinations([c for c in ordered if _projective(c)], 2):
            _check_projective(name, one, other)


def _check_sets(name: str, changes: Sequence[Change]) -> None:
    sets = [(change, change.operation) for change in changes if isinstance(change.operation, Set)]
    if len(sets) < 2:
        return
    targets = [_elements(operation) for _, operation in sets]
    index, values = (torch.cat(parts) for parts in zip(*targets, strict=True))
    origin = torch.cat([torch.full((len(part),), i) for i, (part, _) in enumerate(targets)])
    index, order = torch.sort(index, stable=True)
    values, origin = values[order], origin[order]
    differ = (index[1:] == index[:-1]) & (values[1:] != values[:-1])
    if differ.any():
        at = int(differ.nonzero()[0])
        one, other = (sets[int(origin[i])][0].content[:12] for i in (at, at + 1))
        raise EditError(
            f"edits {one} and {other} set element {int(index[at])} of {name} to different values, "
            f"{float(values[at]):g} and {float(values[at + 1]):g}; expected one value; use one of the two"
        )


def _elements(operation: Set) -> tuple[Tensor, Tensor]:
    """Flat index and values, as many as are stored."""
    form, shape = operation.form, operation.shape
    if not isinstance(form, Slices):
        return form.index, form.values
    flat = torch.zeros(1, dtype=torch.int64)
    for axis, size in enumerate(shape):
        along = form.index if axis == form.axis else torch.arange(size)
        flat = (flat[:, None] + along * math.prod(shape[axis + 1 :])).reshape(-1)
    return flat, form.values.reshape(-1)


def _projective(change: Change) -> bool:
    return isinstance(change.operation, Add) and change.operation.projective is not None


def _check_projective(name: str, one: Change, other: Change) -> None:
    """Two projective adds go together if each leaves alone the space in which the other places its code.

    On one side (both right, say) that is so if their factors on that side are orthogonal. Where one projects
    the left side and the other the right, dW1 + dW2 lacks the product of both projections; it is not missed
    if each dW vanishes on the other's space, that is, if the factors are orthogonal on both sides.
    """
    forms: list[LowRank] = []
    sides: set[Side] = set()
    for change in (one, other):
        operation = change.operation
        if isinstance(operation, Add) and isinstance(operation.form, LowRank) and operation.projective:
            forms.append(operation.form)
            sides.add(operation.projective)
    for side in sorted(sides):
        cosine = _cosine(*forms, operation_shape=one.operation.shape, side=side)
        if cosine is None or cosine > ORTHOGONAL:
            found = "split its axes differently" if cosine is None else f"meet at a cosine of {cosine:.2g}"
            raise EditError(
                f"edits {one.content[:12]} and {other.content[:12]} both project {name} and on the {side} "
                f"side they {found}; expected orthogonal factors; use one, or solve both anew together"
            )


def _cosine(one: LowRank, other: LowRank, *, operation_shape: tuple[int, ...], side: Side) -> float | None:
    """The largest cosine between the spaces of two factors; None if they are spaces of different axes."""
    spaces = []
    for form in (one, other):
        axes = form.left_axes if side == "left" else form.right_axes
        factor = (form.left if side == "left" else form.right.T).double()
        in_order = sorted(range(len(axes)), key=axes.__getitem__)
        folded = factor.reshape(*(operation_shape[axis] for axis in axes), factor.shape[1])
        spaces.append((sorted(axes), folded.permute(*in_order, len(axes)).reshape(factor.shape)))
    if spaces[0][0] != spaces[1][0]:
        return None
    bases = [_orthonormal(factor) for _, factor in spaces]
    if not all(basis.numel() for basis in bases):
        return 0.0
    return float(torch.linalg.matrix_norm(bases[0].T @ bases[1], ord=2))


def _orthonormal(factor: Tensor) -> Tensor:
    left: Tensor
    left, sizes, _ = torch.linalg.svd(factor, full_matrices=False)
    return left[:, sizes > sizes[0] * _NEGLIGIBLE]
