"""Things that can be done to a generator or to its images, from nothing to what nobody would ship."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

import edits
from reproduction import draw
from rewrite.check.anchor import QUALITY, jpeg
from rewrite.generator import Generator, Layer

LUMA = (0.299, 0.587, 0.114)
ZEROED = (1, 5, 10, 20, 40)
PICKS = 3
"""How many times units are drawn: which ones they are matters."""
NOISES = (0.03, 0.1, 0.2, 0.3, 0.5)
Pixels = np.ndarray
"""(N, H, W, 3) uint8."""


@dataclass(frozen=True)
class Perturbation:
    """A name, and an edit of the weights or a change of images (N, 3, H, W) in [-1, 1]; identity has neither."""

    name: str
    edit: edits.Edit | None = None
    change: Callable[[Tensor], Tensor] | None = None

    def images(self, generator: Generator, seeds: range, base: Tensor) -> Tensor:
        """What becomes of the images of these seeds, of which `base` are the untouched ones."""
        return draw.images(generator, seeds, self.edit) if self.change is None else self.change(base)


ANCHOR = Perturbation(f"JPEG {QUALITY}", change=jpeg)
"""The unit of harm."""


def perturbations(generator: Generator, layer: Layer) -> Iterator[Perturbation]:
    """Identity first, then changes of images, then of the weights of one layer."""
    yield Perturbation("identity")
    yield ANCHOR
    for quality in (90, 75, 50):
        yield Perturbation(f"JPEG {quality}", change=lambda x, q=quality: jpeg(x, q))
    for radius in (0.3, 0.5, 1.0):
        yield Perturbation(f"blur {radius:g} px", change=lambda x, r=radius: blurred(x, r))
    for level in (1, 2, 5):
        yield Perturbation(f"pixel noise {level}/255", change=lambda x, s=level: noisy(x, s))
    for share in (0.02, 0.05, 0.1):
        yield Perturbation(f"brightness -{share:.0%}", change=lambda x, s=share: darker(x, s))
    for share in (0.1, 0.3):
        yield Perturbation(f"desaturate {share:.0%}", change=lambda x, s=share: greyer(x, s))
    yield Perturbation("shift 1 px", change=lambda x: x.roll(1, 3))
    for share in (0.05, 0.2):
        yield Perturbation(f"collapse {share:.0%}", change=lambda x, s=share: collapsed(x, s))
    for count in ZEROED:
        for pick in range(PICKS if 2 * count <= layer.out_features else 0):
            chosen = draw.units(layer, count, pick)
            yield Perturbation(f"zero-{count} #{pick}", draw.zeroed(generator, layer, chosen))
    for amount in NOISES:
        yield Perturbation(f"weight noise {amount:g}", draw.shaken(generator, layer, amount))
    for amount in (0.1, 0.3):
        yield Perturbation(f"rank 1, {amount:.0%} norm", draw.pushed(generator, layer, amount))


def blurred(images: Tensor, radius: float) -> Tensor:
    """By a Gaussian of so many pixels."""
    gauss = ImageFilter.GaussianBlur(radius)
    return _images(np.stack([np.asarray(Image.fromarray(one).filter(gauss)) for one in _pixels(images)]))


def noisy(images: Tensor, levels: float) -> Tensor:
    """Gaussian noise of so many levels of 255, the same for the same images."""
    pixels = _pixels(images).astype(np.float64)
    return _images(pixels + np.random.RandomState(0).randn(*pixels.shape) * levels)


def darker(images: Tensor, share: float) -> Tensor:
    return _images(_pixels(images) * (1 - share))


def greyer(images: Tensor, share: float) -> Tensor:
    pixels = _pixels(images).astype(np.float64)
    return _images(pixels * (1 - share) + (pixels @ np.array(LUMA))[..., None] * share)


def collapsed(images: Tensor, share: float) -> Tensor:
    """The first of them in the place of this share of all."""
    alike = images.clone()
    alike[: round(share * len(images))] = images[0]
    return alike


def _pixels(images: Tensor) -> Pixels:
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _images(pixels: Pixels) -> Tensor:
    levels = np.clip(np.round(pixels), 0, 255).astype(np.float32)
    return torch.from_numpy(levels).permute(0, 3, 1, 2) / 127.5 - 1
