"""The scripts are no package of the distribution: tests find them by their folder. And small things to measure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from rewrite.check import View
from rewrite.generator import Generator
from rewrite.models import dcgan, stylegan2
from rewrite.perception import Extractor, Identity, distance

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

COARSE = 2
"""Cells a side of which the features are."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def generator() -> Generator:
    module = stylegan2.StyleGAN2.random(
        5, resolution=32, channels=(16, 16, 16, 8), z=16, w=16, depth=2, noise=0.1
    )  # fmt: skip
    return stylegan2.generator(module, name="toy")


@pytest.fixture(scope="session")
def normed() -> Generator:
    """Of transposed convolutions with norms behind them, to 32 px."""
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=16, channels=(24, 16, 12, 3)).eval().requires_grad_(False)
    return dcgan.generator(module, name="normed")


@pytest.fixture(scope="session")
def eyes() -> View:
    """Features that anybody can follow: mean colours of large cells, and how much small ones differ from them."""

    def seen(images: torch.Tensor) -> torch.Tensor:
        means = F.adaptive_avg_pool2d(images, COARSE)
        edges = (images[..., 1:] - images[..., :-1]).abs()
        return torch.cat([means.flatten(1), F.adaptive_avg_pool2d(edges, COARSE).flatten(1)], dim=1)

    return View(Extractor(Identity("cells", rounding="uint8"), seen), distance("pd-lite0"))
