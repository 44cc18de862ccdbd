"""A wrapped network that crops what it made: cells beyond the image are found, and made of no other network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rewrite.generator import Generator
from rewrite.units import audit, sites


class Cropped(nn.Module):
    """Makes `beyond` cells more than it shows on each side, 4 px a cell in the end."""

    def __init__(self, beyond: int, *, aside: int = 0) -> None:
        super().__init__()
        self.cells, self.cut, self.aside = 16 + 2 * beyond, 4 * beyond, aside
        self.start = nn.Conv2d(2, 6, 3, padding=1)
        self.body = nn.ConvTranspose2d(6, 8, 4, 2, 1)
        self.paint = nn.ConvTranspose2d(8, 3, 4, 2, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = z.unflatten(1, (2, 20, 20))[..., : self.cells, : self.cells]
        x = torch.tanh(self.paint(torch.relu(self.body(torch.relu(self.start(x))))))
        low, high = self.cut, x.shape[2] - self.cut
        return x[..., low + self.aside : high + self.aside, low:high]


def wrapped(module: nn.Module, latent: int = 800) -> Generator:
    torch.manual_seed(3)
    for part in module.parameters():
        nn.init.normal_(part, std=0.3)
    return Generator.wrap(module.requires_grad_(False), latent=latent, name="cropped")


@pytest.mark.parametrize("beyond", [0, 1, 2])
def test_cells_beyond_the_image_are_found(beyond):
    found = sites(wrapped(Cropped(beyond)))
    assert {name: (site.margin, site.grid) for name, site in found.items()} == {
        "start": (beyond, (16, 16)), "body": (2 * beyond, (32, 32)),
    }  # fmt: skip


def test_a_crop_that_is_not_in_the_middle_is_no_margin():
    assert [site.margin for site in sites(wrapped(Cropped(2, aside=6))).values()] == [0, 0]


def test_no_gradients_are_left():
    module = Cropped(1)
    found = Generator.wrap(module, latent=800)
    sites(found)
    assert all(part.grad is None for part in module.parameters())


class Bright:
    classes = ("dark", "bright")

    def __call__(self, images: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(images[:, 0]), images[:, 0]], 1)


def test_a_unit_that_paints_is_found_where_the_image_is_cropped():
    generator = wrapped(Cropped(2))
    with torch.no_grad():
        generator.module.paint.weight.mul_(0.01)
        generator.module.paint.bias.fill_(-0.7)
        generator.module.paint.weight[5, :, 1:3, 1:3] = 0.3
    found = audit(generator, segmenter=Bright(), samples=64, layers=["body"], deals=20)
    iou, _, unit = found.ranked("bright")[0]
    assert unit == 5
    assert iou > 0.5


def test_small_maps_that_a_patch_hangs_on_as_a_whole_tell_nothing(toy):
    assert [site.margin for site in sites(toy).values()] == [0]
