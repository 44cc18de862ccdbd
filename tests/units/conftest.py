"""Small generators, a toy world whose concepts are known to the pixel, and slow ways of counting."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rewrite.generator import Generator
from rewrite.models import dcgan, mobilestylegan, stylegan2

PLANTED = 5
"""The unit of `Toy.body` that paints doors."""


def small_dcgan() -> Generator:
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=16, channels=(24, 16, 8, 3)).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, dcgan.Norm):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.05, 0.1)
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(std=0.3)
    return dcgan.generator(module, name="small-dcgan")


def small_mobile() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(0, noise=0.3, style=16, depth=2, channels=(32, 32, 24, 16))
    return mobilestylegan.generator(module, name="small-mobile")


def small_stylegan2() -> Generator:
    module = stylegan2.StyleGAN2.random(0, resolution=16, channels=(24, 24, 16), z=16, w=16, depth=2, noise=0.3)
    for part in module.modules():
        if isinstance(part, stylegan2.Modulated):
            part.bias.normal_(std=0.3)
    return stylegan2.generator(module, name="small-stylegan2")


FAMILIES = {"dcgan": small_dcgan, "mobile": small_mobile, "stylegan2": small_stylegan2}


class Toy(nn.Module):
    """Smooth random features, two of which paint: one red, one grey. 16 px."""

    def __init__(self, units: int = 8) -> None:
        super().__init__()
        self.start = nn.Linear(6, 4 * 4 * 4)
        self.body = nn.ConvTranspose2d(4, units, 4, 2, 1)
        self.paint = nn.ConvTranspose2d(units, 3, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = torch.relu(self.start(z).unflatten(1, (4, 4, 4)))
        return torch.tanh(self.paint(torch.relu(self.body(x))))


class Segmenter:
    """Red is a door, bright is sky, the rest a wall."""

    classes = ("wall", "door", "sky")

    def __call__(self, images: Tensor) -> Tensor:
        grey = images.mean(1)
        red = images[:, 0] - images[:, 1]
        return torch.stack([torch.full_like(grey, 0.1), red, grey], 1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "home"))


@pytest.fixture
def toy() -> Generator:
    torch.manual_seed(1)
    module = Toy().requires_grad_(False)
    with torch.no_grad():
        module.body.bias.fill_(-0.2)
        module.body.bias[[2, PLANTED]] = -0.1
        module.paint.weight.mul_(2)
        module.paint.weight[:, 0] *= 0.1
        module.paint.weight[PLANTED] = 0
        module.paint.weight[PLANTED, 0, 1:3, 1:3] = 4.0
        module.paint.weight[2, :, 1:3, 1:3] = 2.0
    return Generator.wrap(module, latent=6, name="toy")


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter()


@pytest.fixture(params=FAMILIES)
def family(request) -> Generator:
    return FAMILIES[request.param]()
