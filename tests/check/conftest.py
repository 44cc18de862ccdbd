"""A small generator, edits of known reach, and what they are looked at with."""

from __future__ import annotations

import pytest
import torch

import edits
from edits.identity import describe
from rewrite.check import View, view
from rewrite.generator import Generator
from rewrite.models import stylegan2

LAST = "synthesis.b32.torgb.bias"


@pytest.fixture(scope="session")
def generator() -> Generator:
    return stylegan2.generator(
        stylegan2.StyleGAN2.random(5, resolution=32, channels=(16, 16, 16, 8), z=16, w=16, depth=2), name="toy"
    )


@pytest.fixture(scope="session")
def eyes() -> View:
    return view()


@pytest.fixture
def tint(generator: Generator):
    """Adds this much to the red of every pixel."""

    def made(amount: float) -> edits.Edit:
        change = torch.tensor([amount, 0.0, 0.0])
        return edits.Edit({LAST: (edits.Add((3,), edits.Dense(change)),)}, describe(generator.module, [LAST]))

    return made


@pytest.fixture
def noise(generator: Generator):
    """Moves a layer's weights by this share of their own spread."""

    def made(amount: float, name: str = "synthesis.b16.conv1.weight") -> edits.Edit:
        weight = generator.module.state_dict()[name]
        drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * weight.std() * amount
        add = edits.Add(tuple(weight.shape), edits.Dense(drawn))
        return edits.Edit({name: (add,)}, describe(generator.module, [name]))

    return made
