"""What edits do to one layer, as a change of its canonical weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

import edits
from edits.materialise import Change as Applied
from edits.materialise import changes, materialise
from rewrite.generator import Layer
from rewrite.memory import Change, canonical

Part = tuple[edits.Edit, float]
"""An edit that is not composed, at a strength."""


def change_of(layer: Layer, base: Tensor, parts: Sequence[Part]) -> Change | None:
    """The change that these parts together make of a layer's stored `base`; None where they leave it alone.

    Adds are kept as their factors, side by side. Where a part scales or sets, which acts on what the adds made, all of
    them are carried out and compared with the base.
    """
    found = [one for edit, strength in parts for one in changes(edit, strength).get(layer.weight, ())]
    if not found:
        return None
    if all(isinstance(one.operation, edits.Add) for one in found):
        return side_by_side([_added(layer, one) for one in found])
    return moved(layer, base, materialise(base.double(), found))


def adds_only(layer: Layer, edit: edits.Edit) -> bool:
    """Whether all that an edit does to a layer is to add: then it goes into a linear problem."""
    return all(isinstance(operation, edits.Add) for operation in edit.operations.get(layer.weight, ()))


def moved(layer: Layer, before: Tensor, after: Tensor) -> Change:
    """The change from one stored weight to another."""
    return whole(canonical(layer, after) - canonical(layer, before))


def whole(weight: Tensor) -> Change:
    """A canonical dW (out, in, kernel height, kernel width), as a change that reads every direction."""
    return Change(weight, torch.eye(weight.shape[1], dtype=weight.dtype))


def side_by_side(parts: Sequence[Change]) -> Change:
    """The sum of changes, their factors kept."""
    return Change(torch.cat([part.response for part in parts], dim=1), torch.cat([part.context for part in parts]))


def flat(change: Change) -> Tensor:
    """dW (taps . in, out): what a row of unfolded keys is multiplied by."""
    return torch.einsum("orhw,ri->hwio", change.response, change.context).flatten(0, 2)


def _added(layer: Layer, one: Applied) -> Change:
    operation = one.operation
    assert isinstance(operation, edits.Add)
    form = operation.form
    if not isinstance(form, edits.LowRank) or form.right_axes != (layer.in_axis,):
        return whole(canonical(layer, materialise(torch.zeros(layer.shape, dtype=torch.float64), [one])))
    rank = form.right.shape[0]
    sides = form.left.double().reshape(*(layer.shape[axis] for axis in form.left_axes), rank)
    own = (layer.out_axis, *layer.kernel_axes)
    order = [form.left_axes.index(axis) for axis in own]
    rest = [place for place in range(len(form.left_axes)) if place not in order]
    height, width = layer.kernel
    response = sides.permute(*order, len(form.left_axes), *rest).reshape(layer.out_features, height, width, rank)
    return Change(response.permute(0, 3, 1, 2) * (layer.scale * one.strength), form.right.double())
