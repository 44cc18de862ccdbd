"""Changes of one tensor that cannot be had together: found before anything is written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from edits.errors import EditError
from edits.materialise import Change
from edits.operations import Add, LowRank, Set, Side, Slices

ORTHOGONAL = 1e-4
"""Largest cosine between two spaces that count as orthogonal; factors are float32."""
_NEGLIGIBLE = 1e-6
_SIDES: tuple[Side, ...] = ("left", "right")


def check(plan: Mapping[str, Sequence[Change]]) -> None:
    """EditError if two sets of an element differ, or two projective adds of a tensor are not orthogonal."""
    for name, changes in plan.items():
        ordered = sorted(changes, key=lambda change: change.place)
        _check_sets(name, ordered)
        _check_projective(name, [change for change in ordered if _projective(change)])


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


def _check_projective(name: str, changes: Sequence[Change]) -> None:
    """Two projective adds go together if each leaves alone the space in which the other places its code.

    On one side (both right, say) that is so if their factors on that side are orthogonal. Where one projects
    the left side and the other the right, dW1 + dW2 lacks the product of both projections; it is not missed
    if each dW vanishes on the other's space, that is, if the factors are orthogonal on both sides.
    """
    for side in _SIDES:
        projects = [isinstance(one.operation, Add) and one.operation.projective == side for one in changes]
        if len(changes) > 1 and any(projects):
            spaces = [_space(change, side) for change in changes]
            for i, j in _touching(spaces):
                if projects[i] or projects[j]:
                    _check_pair(name, side, (changes[i], spaces[i]), (changes[j], spaces[j]))


def _check_pair(name: str, side: Side, *pair: tuple[Change, _Space]) -> None:
    (one, space), (other, another) = pair
    if space.axes != another.axes:
        found = "split its axes differently"
    else:
        cosine = float(torch.linalg.matrix_norm(space.basis.T @ another.basis, ord=2))
        if cosine <= ORTHOGONAL:
            return
        found = f"meet at a cosine of {cosine:.2g}"
    raise EditError(
        f"edits {one.content[:12]} and {other.content[:12]} both project {name} and on the {side} "
        f"side they {found}; expected orthogonal factors; use one, or solve both anew together"
    )


@dataclass(frozen=True)
class _Space:
    """What a factor spans: an orthonormal basis, over the axes in order."""

    axes: list[int]
    basis: Tensor


def _space(change: Change, side: Side) -> _Space:
    operation = change.operation
    # Nothing else can be projective.
    assert isinstance(operation, Add)
    assert isinstance(operation.form, LowRank)
    form, shape = operation.form, operation.shape
    axes = form.left_axes if side == "left" else form.right_axes
    factor = (form.left if side == "left" else form.right.T).double()
    in_order = sorted(range(len(axes)), key=axes.__getitem__)
    folded = factor.reshape(*(shape[axis] for axis in axes), factor.shape[1])
    return _Space(sorted(axes), _orthonormal(folded.permute(*in_order, len(axes)).reshape(factor.shape)))


def _touching(spaces: Sequence[_Space]) -> Iterator[tuple[int, int]]:
    """Pairs that may not be orthogonal: of other axes, or with a product whose Frobenius norm is not small.

    That norm bounds the largest cosine from above, and all of them come from one product a space.
    """
    if any(space.axes != spaces[0].axes for space in spaces):
        yield from ((i, j) for i, j in combinations(range(len(spaces)), 2) if spaces[i].axes != spaces[j].axes)
        return
    together = torch.cat([space.basis for space in spaces], dim=1)
    owner = torch.repeat_interleave(torch.tensor([space.basis.shape[1] for space in spaces]))
    for i, space in enumerate(spaces):
        squares = (space.basis.T @ together).square().sum(0)
        norms = torch.zeros(len(spaces), dtype=squares.dtype).index_add_(0, owner, squares).sqrt()
        yield from ((i, int(j)) for j in torch.nonzero(norms > ORTHOGONAL).flatten() if j > i)


def _orthonormal(factor: Tensor) -> Tensor:
    left: Tensor
    left, sizes, _ = torch.linalg.svd(factor, full_matrices=False)
    return left[:, sizes > sizes[0] * _NEGLIGIBLE]
