"""LPIPS, version 0.1, without torchvision: trunks in plain torch, linear weights out of the installed `lpips`.

Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric". The `lpips` package is
found but never imported. Trunks have torchvision's numbering, so that its published files are read as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.perception.identity import Identity
from rewrite.perception.perceptual import Perceptual
from rewrite.perception.weights import from_hub, read

MODELS = "https://download.pytorch.org/models"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Images in [-1, 1] are brought to ImageNet's mean and deviation by these."""


@dataclass(frozen=True)
class Conv:
    """A convolution and its ReLU, which is the next layer in torchvision's count."""

    stride: int = 1
    padding: int = 1


@dataclass(frozen=True)
class Pool:
    """A maximum over `size` px, at every second."""

    size: int = 3
    ceil: bool = False


@dataclass(frozen=True)
class Fire:
    """SqueezeNet's module: narrow to few channels, then widen by 1 x 1 and 3 x 3 kernels side by side."""


@dataclass(frozen=True)
class Plan:
    """A trunk: its layers in order, and after which of them features are taken."""

    file: str
    layers: tuple[Conv | Pool | Fire, ...]
    taps: tuple[int, ...]
    least: int
    """Smallest side of an image in px."""


def _vgg() -> tuple[Conv | Pool, ...]:
    stages: list[Conv | Pool] = []
    for convolutions in (2, 2, 3, 3, 3):
        stages += [*[Conv()] * convolutions, Pool(2)]
    return tuple(stages[:-1])


PLANS: Mapping[str, Plan] = {
    "alex": Plan(
        file="alexnet-owt-7be5be79.pth",
        layers=(Conv(4, 2), Pool(), Conv(1, 2), Pool(), Conv(), Conv(), Conv()),
        taps=(0, 2, 4, 5, 6),
        least=31,
    ),
    "vgg": Plan(file="vgg16-397923af.pth", layers=_vgg(), taps=(1, 4, 8, 12, 16), least=16),
    "squeeze": Plan(
        file="squeezenet1_1-b8a52dc0.pth",
        layers=(Conv(2, 0), *(Pool(3, True), Fire(), Fire()) * 2, Pool(3, True), *(Fire(),) * 4),
        taps=(0, 3, 6, 8, 9, 10, 11),
        least=17,
    ),
}


def lpips(net: str) -> Perceptual:
    """LPIPS with the trunk "alex", "vgg" or "squeeze".

    RewriteError, with the remedy, if the trunk's file or the `lpips` package is missing or damaged. With a trunk file
    that is not the published one, the identity says so.
    """
    what, plan = f"lpips-{net}", PLANS[net]
    spec = find_spec("lpips")
    if spec is None or spec.origin is None:
        raise RewriteError(
            f"{what} needs the linear weights in the package lpips; run `pip install --no-deps lpips==0.1.4`"
        )
    linear = read(
        Path(spec.origin).parent / "weights" / "v0.1" / f"{net}.pth",
        what,
        "run `pip install --force-reinstall --no-deps lpips==0.1.4`",
    )
    backbone = from_hub(f"{MODELS}/{plan.file}", what)
    try:
        trunk = Trunk(plan, backbone.tensors)
        weights = [linear.tensors[f"lin{i}.model.1.weight"].flatten() for i in range(len(plan.taps))]
        found = [maps.shape[1] for maps in trunk(torch.zeros(1, 3, plan.least, plan.least))]
    except (KeyError, RuntimeError) as error:
        raise RewriteError(
            f"{what}: {plan.file} is not the trunk that it is named after ({error}); delete it, and let it be "
            f"downloaded again or fetch {MODELS}/{plan.file}"
        ) from None
    if found != [len(weight) for weight in weights]:
        raise RewriteError(
            f"{what}: {plan.file} has layers of {found} channels, and the linear weights are for "
            f"{[len(weight) for weight in weights]}; fetch {MODELS}/{plan.file} and run `pip install lpips==0.1.4`"
        )
    identity = Identity(
        name=what if backbone.published else f"{what} (trunk not the published one, not LPIPS)",
        layer="v0.1",
        weights=f"{backbone.sha256}+{linear.sha256}",
    )
    return Perceptual(identity, trunk, weights, least=plan.least)


class Trunk(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] to the feature maps at the taps of a plan; KeyError on foreign tensors."""

    shift: Tensor
    scale: Tensor

    def __init__(self, plan: Plan, tensors: Mapping[str, Tensor]):
        super().__init__()
        self.taps = plan.taps
        layers: list[nn.Module] = []
        place = 0
        for layer in plan.layers:
            path = f"features.{place}"
            if isinstance(layer, Conv):
                layers.append(_Conv(tensors, path, layer.stride, layer.padding))
            elif isinstance(layer, Fire):
                layers.append(_Fire(tensors, path))
            else:
                layers.append(nn.MaxPool2d(layer.size, 2, ceil_mode=layer.ceil))
            place += 2 if isinstance(layer, Conv) else 1
        self.layers = nn.ModuleList(layers)
        for name, colour in (("shift", SHIFT), ("scale", SCALE)):
            self.register_buffer(name, torch.tensor(colour)[:, None, None])
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        x = (images - self.shift) / self.scale
        found = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in self.taps:
                found.append(x)
        return found


class _Conv(nn.Module):
    def __init__(self, tensors: Mapping[str, Tensor], path: str, stride: int = 1, padding: int = 0):
        super().__init__()
        self.weight = nn.Parameter(tensors[f"{path}.weight"].float())
        self.bias = nn.Parameter(tensors[f"{path}.bias"].float())
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.conv2d(x, self.weight, self.bias, self.stride, self.padding))


class _Fire(nn.Module):
    def __init__(self, tensors: Mapping[str, Tensor], path: str):
        super().__init__()
        self.squeeze = _Conv(tensors, f"{path}.squeeze")
        self.narrow = _Conv(tensors, f"{path}.expand1x1")
        self.wide = _Conv(tensors, f"{path}.expand3x3", padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.narrow(x), self.wide(x)], 1)
