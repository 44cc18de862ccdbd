"""Edits of known size, drawn at random: units zeroed, weights shaken, a direction added; and images under them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

import edits
from edits.identity import describe
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer

SIDE = 16
"""Perturbed is, unless another layer is named, the last whose output is so many cells a side."""
BATCH = 50
SHAKEN = 1
"""Seed of the noise on weights."""


def usual_layer(generator: Generator) -> Layer:
    """The layer that perturbations are drawn for; RewriteError if there is none of that size."""
    found = [
        layer
        for layer in generator.layers.values()
        if layer.refuses is None and layer.out_features > 3 and layer.out_resolution[0] == SIDE
    ]
    if not found:
        raise RewriteError(f"no layer of {generator.name or generator.architecture} has {SIDE} x {SIDE} outputs")
    return found[-1]


def units(layer: Layer, count: int, pick: int) -> list[int]:
    """So many of a layer's outputs, drawn: those of a smaller count are among those of a larger one."""
    return sorted(np.random.default_rng(pick).permutation(layer.out_features)[:count].tolist())


def zeroed(generator: Generator, layer: Layer, chosen: Sequence[int]) -> edits.Edit:
    """These units of a layer are exactly 0 in every image; RewriteError where it is not known how."""
    form = layer.units
    if form is None:
        raise RewriteError(f"it is not known what the units of {layer.name} hang on; zero those of another layer")
    tensors, index = generator.module.state_dict(), torch.tensor(sorted(chosen))
    operations: dict[str, tuple[edits.Set]] = {}
    for name, axis in form.silenced or (*form.constant, *([] if form.level is None else [(form.level, 0)])):
        shape = tuple(tensors[name].shape)
        values = torch.zeros(*shape[:axis], len(index), *shape[axis + 1 :])
        operations[name] = (edits.Set(shape, edits.Slices(axis, index, values)),)
    return edits.Edit(operations, describe(generator.module, operations))


def shaken(generator: Generator, layer: Layer, amount: float) -> edits.Edit:
    """Gaussian noise on a layer's weight, of `amount` standard deviations of that weight."""
    weight = generator.module.state_dict()[layer.weight].cpu()
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(SHAKEN))
    return added(generator, layer, noise * weight.std() * amount)


def pushed(generator: Generator, layer: Layer, amount: float) -> edits.Edit:
    """A random change of rank 1, of `amount` norms of the layer's weight."""
    weight = generator.module.state_dict()[layer.weight].cpu()
    seed = torch.Generator().manual_seed(SHAKEN)
    inward = torch.randn(layer.in_features, generator=seed)
    rest = [size for axis, size in enumerate(weight.shape) if axis != layer.in_axis]
    change = torch.tensordot(torch.randn(rest, generator=seed), inward, 0).movedim(-1, layer.in_axis)
    return added(generator, layer, change * (amount * weight.norm() / change.norm()))


def added(generator: Generator, layer: Layer, change: Tensor) -> edits.Edit:
    """This much on a layer's stored weight."""
    add = edits.Add(tuple(change.shape), edits.Dense(change.float()))
    return edits.Edit({layer.weight: (add,)}, describe(generator.module, [layer.weight]))


def images(generator: Generator, seeds: Iterable[int], edit: edits.Edit | None = None) -> Tensor:
    """Images (N, 3, H, W) of these seeds, with the edit or without any."""
    seeds, made = list(seeds), []
    with torch.no_grad(), edits.applied(generator.module, *([] if edit is None else [(edit, 1.0)])):
        for first in range(0, len(seeds), BATCH):
            made.append(generator.synthesize(generator.latents(seeds[first : first + BATCH])))
    return torch.cat(made)
