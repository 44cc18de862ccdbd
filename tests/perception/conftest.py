"""Random weights in the layout of the published ones, in a TORCH_HOME of the tests' own; a torchvision that imports."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from rewrite.perception import Features, Identity

TOY = Identity("toy", layer="features")
SQUEEZES = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)} | {
    9: (256, 48, 192),
    10: (384, 48, 192),
    11: (384, 64, 256),
    12: (512, 64, 256),
}
"""SqueezeNet's modules by torchvision's number: channels in, squeezed, and of each half of the output."""


def features(values: torch.Tensor, identity: Identity = TOY) -> Features:
    return Features(values.float(), identity)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """torchvision, repaired where its compiled part cannot load beside a torch without CUDA.

    Then it registers shapes of operators that do not exist, and fails; an empty module in the place of those
    registrations lets the rest import. A healthy installation is left alone.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    registrations = "torchvision._meta_registrations"
    sys.modules[registrations] = ModuleType(registrations)
    return importlib.import_module("torchvision")


@pytest.fixture(scope="session")
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TORCH_HOME whose cache holds every trunk of LPIPS, with random weights."""
    home = tmp_path_factory.mktemp("torch")
    for file, made in (
        ("alexnet-owt-7be5be79.pth", alexnet),
        ("vgg16-397923af.pth", vgg16),
        ("squeezenet1_1-b8a52dc0.pth", squeezenet),
    ):
        keep(made(), home, file)
    return home


@pytest.fixture
def hub(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torch looks for published files: that of `torch_home`."""
    monkeypatch.setenv("TORCH_HOME", str(torch_home))
    return torch_home / "hub" / "checkpoints"


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, empty, and offline."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "hub" / "checkpoints"


def offline(url: str, *_: object, **__: object) -> None:
    raise OSError("no route to host")


def keep(tensors: dict[str, torch.Tensor], home: Path, file: str) -> Path:
    path = home / "hub" / "checkpoints" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)
    return path


def alexnet() -> dict[str, torch.Tensor]:
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    drawn = draws(1)
    tensors: dict[str, torch.Tensor] = {}
    for place, (into, out_of, kernel) in shapes.items():
        tensors |= drawn(f"features.{place}", into, out_of, kernel)
    return tensors | hollow({"classifier.1": (4096, 9216), "classifier.4": (4096, 4096), "classifier.6": (1000, 4096)})


def vgg16() -> dict[str, torch.Tensor]:
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    drawn = draws(2)
    tensors: dict[str, torch.Tensor] = {}
    for i, place in enumerate(places):
        tensors |= drawn(f"features.{place}", widths[i + 1], widths[i], 3)
    return tensors | hollow({"classifier.0": (4096, 25088), "classifier.3": (4096, 4096), "classifier.6": (1000, 4096)})


def squeezenet() -> dict[str, torch.Tensor]:
    drawn = draws(3)
    tensors = drawn("features.0", 64, 3, 3)
    for place, (into, narrow, wide) in SQUEEZES.items():
        path = f"features.{place}"
        tensors |= drawn(f"{path}.squeeze", narrow, into, 1)
        tensors |= drawn(f"{path}.expand1x1", wide, narrow, 1) | drawn(f"{path}.expand3x3", wide, narrow, 3)
    return tensors | drawn("classifier.1", 1000, 512, 1)


def draws(seed: int) -> Callable[[str, int, int, int], dict[str, torch.Tensor]]:
    source = torch.Generator().manual_seed(seed)

    def drawn(path: str, into: int, out_of: int, kernel: int) -> dict[str, torch.Tensor]:
        spread = (2 / (out_of * kernel**2)) ** 0.5
        return {
            f"{path}.weight": torch.randn(into, out_of, kernel, kernel, generator=source) * spread,
            f"{path}.bias": torch.randn(into, generator=source) * 0.1,
        }

    return drawn


def hollow(linear: dict[str, tuple[int, int]]) -> dict[str, torch.Tensor]:
    """Layers that LPIPS never uses, of the right shape: one number on the disk instead of half a gigabyte."""
    return {
        f"{path}.{part}": torch.zeros(1).expand(shape if part == "weight" else shape[:1])
        for path, shape in linear.items()
        for part in ("weight", "bias")
    }
