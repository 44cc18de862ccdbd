"""Small random generators, one a kind of layer."""

from __future__ import annotations

import pytest
import torch

from rewrite.generator import Generator
from rewrite.models import dcgan, mobilestylegan, stylegan2


def small_dcgan() -> Generator:
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=12, channels=(8, 8, 6, 3)).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, dcgan.Norm):
            part.running_var.uniform_(0.05, 0.1)
            part.bias.normal_(std=0.3)
    return dcgan.generator(module, name="small-dcgan")


def small_mobile() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(0, noise=0.3, style=16, depth=2, channels=(32, 24, 16))
    return mobilestylegan.generator(module, name="small-mobile")


def small_stylegan2() -> Generator:
    module = stylegan2.StyleGAN2.random(0, resolution=32, channels=(8, 8, 6, 6), z=16, w=16, depth=2, noise=0.3)
    return stylegan2.generator(module, name="small-stylegan2")


CASES = {
    "dcgan": (small_dcgan, "main.6"),
    "mobile": (small_mobile, "layers.0.conv2"),
    "stylegan2": (small_stylegan2, "synthesis.b8.conv1"),
    "stylegan2 up": (small_stylegan2, "synthesis.b16.conv0"),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "home"))


@pytest.fixture(params=CASES)
def case(request) -> tuple[Generator, str]:
    """A generator and the name of a layer."""
    make, layer = CASES[request.param]
    return make(), layer


@pytest.fixture
def small() -> Generator:
    return small_stylegan2()
