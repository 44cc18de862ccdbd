"""Builders for small modules and random edits, from a seed."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from edits import Add, Dense, Edit, Elements, LowRank, Scale, Set, Slices, describe


class Net(nn.Module):
    """Weights of every kind that is edited: linear, conv, transposed conv, 5-D, bias, scalar, buffer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shapes = {
            "linear": (6, 5),
            "conv": (4, 3, 3, 2),
            "modulated": (1, 4, 3, 2, 2),
            "bias": (7,),
            "gain": (),
        }
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape, generator=generator)))
        self.register_buffer("noise", torch.randn(3, 3, generator=generator))
        self.register_buffer("steps", torch.tensor(3))


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator)


def low_rank(shape, left_axes, right_axes, rank=2, generator=None, projective=None):
    rows, columns = (math.prod(shape[a] for a in axes) for axes in (left_axes, right_axes))
    form = LowRank(normal(generator, rows, rank), normal(generator, rank, columns), left_axes, right_axes)
    return Add(shape, form, projective)


def some(generator, size):
    """Sorted unique positions, at least one."""
    count = int(torch.randint(1, size + 1, (), generator=generator))
    return torch.randperm(size, generator=generator)[:count].sort().values


def operation(shape, generator, kinds=("low-rank", "dense", "slices", "scale", "set slices", "set elements")):
    kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
    if kind == "dense" or (not shape and kind not in ("low-rank", "set elements")):
        return Add(shape, Dense(normal(generator, *shape) if shape else normal(generator, 1).reshape(())))
    if kind == "low-rank":
        axes = torch.randperm(len(shape), generator=generator).tolist()
        cut = int(torch.randint(len(axes) + 1, (), generator=generator))
        return low_rank(shape, tuple(axes[:cut]), tuple(axes[cut:]), 1 + cut, generator)
    if kind == "set elements":
        index = some(generator, math.prod(shape))
        return Set(shape, Elements(index, 0.5 * torch.ones(len(index))))
    axis = int(torch.randint(len(shape), (), generator=generator))
    index = some(generator, shape[axis])
    if kind == "scale":
        return Scale(shape, axis, index, normal(generator, len(index)))
    sliced = (*shape[:axis], len(index), *shape[axis + 1 :])
    if kind == "set slices":
        return Set(shape, Slices(axis, index, 0.5 * torch.ones(sliced)))
    return Add(shape, Slices(axis, index, normal(generator, *sliced)))


def edit(module, seed=0, names=("linear", "conv"), *, kinds=None, upstream=(), count=2, **facts):
    """A random edit of these parameters; sets all set 0.5, so that they never clash."""
    generator = torch.Generator().manual_seed(seed)
    tensors = dict(module.state_dict())
    more = {} if kinds is None else {"kinds": kinds}
    made = {n: tuple(operation(tuple(tensors[n].shape), generator, **more) for _ in range(count)) for n in names}
    return Edit(made, describe(module, names, upstream, "net"), **facts)


def single(module, name, *operations, **facts):
    return Edit({name: operations}, describe(module, [name]), **facts)


def bits(module):
    """Every stored tensor as bytes."""
    return {
        name: (t.dtype, t.contiguous().reshape(-1).view(torch.uint8).tolist())
        for name, t in module.state_dict().items()
    }


def splits(axes):
    """Every way to split axes in two sides, in every order."""
    for order in itertools.permutations(range(axes)):
        for cut in range(axes + 1):
            yield order[:cut], order[cut:]


@pytest.fixture(scope="session")
def make():
    return SimpleNamespace(
        Net=Net,
        edit=edit,
        single=single,
        operation=operation,
        low_rank=low_rank,
        bits=bits,
        splits=splits,
        some=some,
    )


@pytest.fixture
def net():
    return Net()
