"""Small random generators, rules on them, and the real one that is small enough."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import edits
from rewrite import models
from rewrite.errors import RewriteError
from rewrite.models import dcgan, stylegan2
from rewrite.rules import rule

# The scripts are no package of the distribution: tests find them by their folder.
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
HOME = os.environ.get("REWRITE_HOME")
"""Where pulled models lie; moments of the tests go elsewhere."""


def small_dcgan():
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=16, channels=(48, 32, 8, 3))
    return dcgan.generator(module.eval().requires_grad_(False), name="small-dcgan")


def small_stylegan2():
    module = stylegan2.StyleGAN2.random(0, resolution=16, channels=(32, 32, 16), z=16, w=16, depth=2, noise=0.1)
    return stylegan2.generator(module, name="small-stylegan2")


GENERATORS = {
    "plain": (small_dcgan, ("main.3", "main.6")),
    "demodulated": (small_stylegan2, ("synthesis.b8.conv1", "synthesis.b16.conv1")),
}
"""How each is made, and two of its layers, latent side first."""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWRITE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def faces64():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWRITE_HOME", HOME) if HOME else patch.delenv("REWRITE_HOME")
        try:
            return models.load("faces64")
        except RewriteError as error:
            pytest.skip(f"the model faces64 is not in the cache and cannot be pulled: {error}")


@pytest.fixture(scope="session")
def recipe_for():
    def make(layer, first=1, box=(0.2, 0.2, 0.7, 0.6), pastes=2, **changes):
        """A rule whose source and paste examples are the seeds from `first` on."""
        return {
            "layer": layer,
            "copy": {"seed": first, "box": list(box)},
            "paste": [{"seed": first + 1 + n, "box": list(box)} for n in range(pastes)],
            "rank": 2,
            "mu": 0.1,
            "nu": 0.1,
            "samples": 32,
            **changes,
        }

    return make


@pytest.fixture(scope="session", params=GENERATORS)
def case(request, recipe_for):
    """A generator, two of its layers, and five rules: three on the upper layer, where they overlap, two below."""
    make, (upper, lower) = GENERATORS[request.param]
    generator = make()
    boxes = [(0.2, 0.2, 0.7, 0.6), (0.3, 0.3, 0.9, 0.8), (0.0, 0.4, 0.5, 0.9)]
    above = [rule(generator, recipe_for(upper, 10 * n + 1, box)) for n, box in enumerate(boxes)]
    below = [rule(generator, recipe_for(lower, 10 * n + 101, box)) for n, box in enumerate(boxes[:2])]
    bits = {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}
    yield SimpleNamespace(generator=generator, upper=upper, lower=lower, above=above, below=below)
    for name, tensor in generator.module.state_dict().items():
        assert torch.equal(tensor, bits[name]), f"{name} was not put back"


@pytest.fixture
def packed():
    """The bytes of an edit's file."""
    return lambda edit: b"".join(edits.file.pack(edit))


@pytest.fixture
def by_hand():
    """An edit without a recipe: a dense add of some size to one layer's weight."""

    def make(generator, name, size=0.1, seed=0):
        layer = generator.layer(name)
        weight = generator.module.state_dict()[layer.weight]
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        add = edits.Add(tuple(weight.shape), edits.Dense(size * float(weight.std()) * noise))
        base = edits.describe(generator.module, [layer.weight], layer.upstream, generator.architecture)
        return edits.Edit({layer.weight: (add,)}, base)

    return make
