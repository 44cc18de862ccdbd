"""Small random generators of every kind of layer, and recipes for them."""

from __future__ import annotations

import pytest
import torch

from rewrite.models import dcgan, mobilestylegan, stylegan2


def small_dcgan():
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=16, channels=(24, 16, 8, 3))
    return dcgan.generator(module.eval().requires_grad_(False), name="small-dcgan")


def small_mobile():
    torch.manual_seed(0)
    module = mobilestylegan.MobileStyleGAN(style=16, depth=2, channels=(32, 32, 24, 16))
    return mobilestylegan.generator(module.eval().requires_grad_(False), name="small-mobile")


def small_stylegan2():
    module = stylegan2.StyleGAN2.random(0, resolution=16, channels=(24, 24, 16), z=16, w=16, depth=2, noise=0.1)
    return stylegan2.generator(module, name="small-stylegan2")


GENERATORS = {
    "dcgan": (small_dcgan, "main.3"),
    "mobile": (small_mobile, "layers.1.conv1"),
    "demodulated": (small_stylegan2, "synthesis.b16.conv1"),
    "demodulated up": (small_stylegan2, "synthesis.b8.conv0"),
    "to rgb": (small_stylegan2, "synthesis.b16.torgb"),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "home"))


@pytest.fixture(params=GENERATORS)
def case(request):
    """A generator and the name of a layer that a rule can edit."""
    make, layer = GENERATORS[request.param]
    return make(), layer


@pytest.fixture
def recipe_for():
    def make(layer, **changes):
        box = [0.2, 0.2, 0.7, 0.6]
        return {
            "layer": layer,
            "copy": {"seed": 1, "box": box},
            "paste": [{"seed": seed, "box": box} for seed in (2, 3, 4)],
            "rank": 4,
            "mu": 0.1,
            "nu": 0.1,
            "samples": 32,
            **changes,
        }

    return make
