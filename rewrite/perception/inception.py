"""Inception v3 as published Fréchet distances use it: the network of 2015-12-05, with TensorFlow's arithmetic.

Szegedy et al. 2016, "Rethinking the Inception Architecture"; Heusel et al. 2017, "GANs Trained by a Two Time-Scale
Update Rule" (FID). Weights and their names are those that torch-fidelity and pytorch-fid share. It differs from later
Inceptions in its pools: averages do not count the padding, and the last block takes the maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.perception.identity import Identity

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
PUBLISHED = Identity(
    name="inception",
    layer="2048",
    resolution=299,
    interpolation="bilinear of TensorFlow 1",
    rounding="uint8",
    weights="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
"""What a distance must have been measured with to be called FID or KID."""
EPS = 1e-3

Step = str | tuple[str, ...]
"""A pool, a convolution, or convolutions side by side. A name that ends in / has stride 2 and no padding."""
POOLS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "average": partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False),
    "maximum": partial(F.max_pool2d, kernel_size=3, stride=1, padding=1),
    "halve": partial(F.max_pool2d, kernel_size=3, stride=2),
}


def _chain(name: str, length: int) -> tuple[str, ...]:
    return tuple(f"{name}_{i + 1}" for i in range(length))


def _wide(pool: str) -> tuple[tuple[Step, ...], ...]:
    """The last two blocks."""
    return (
        ("branch1x1",),
        ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
        (*_chain("branch3x3dbl", 2), ("branch3x3dbl_3a", "branch3x3dbl_3b")),
        (pool, "branch_pool"),
    )


FINE = (("branch1x1",), _chain("branch5x5", 2), _chain("branch3x3dbl", 3), ("average", "branch_pool"))
MIDDLE = (("branch1x1",), _chain("branch7x7", 3), _chain("branch7x7dbl", 5), ("average", "branch_pool"))
BLOCKS: Mapping[str, tuple[tuple[Step, ...], ...]] = {
    "Mixed_5b": FINE,
    "Mixed_5c": FINE,
    "Mixed_5d": FINE,
    "Mixed_6a": (("branch3x3/",), (*_chain("branch3x3dbl", 2), "branch3x3dbl_3/"), ("halve",)),
    "Mixed_6b": MIDDLE,
    "Mixed_6c": MIDDLE,
    "Mixed_6d": MIDDLE,
    "Mixed_6e": MIDDLE,
    "Mixed_7a": (("branch3x3_1", "branch3x3_2/"), (*_chain("branch7x7x3", 3), "branch7x7x3_4/"), ("halve",)),
    "Mixed_7b": _wide("average"),
    "Mixed_7c": _wide("maximum"),
}


class Inception(nn.Module):
    """Images (N, 3, 299, 299) in [-1, 1] to the features (N, 2048) of the last pool; KeyError on foreign tensors."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        self.stem = nn.Sequential(
            _Convolution(tensors, "Conv2d_1a_3x3", stride=2, padded=False),
            _Convolution(tensors, "Conv2d_2a_3x3", padded=False),
            _Convolution(tensors, "Conv2d_2b_3x3"),
            nn.MaxPool2d(3, 2),
            _Convolution(tensors, "Conv2d_3b_1x1"),
            _Convolution(tensors, "Conv2d_4a_3x3", padded=False),
            nn.MaxPool2d(3, 2),
        )
        self.blocks = nn.Sequential(*(_Block(tensors, name, branches) for name, branches in BLOCKS.items()))
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        # The network takes (x - 128) / 128 of pixels from 0 to 255.
        return self.blocks(self.stem((images * 127.5 - 0.5) / 128)).mean((2, 3))


class _Block(nn.Module):
    """Branches side by side."""

    def __init__(self, tensors: Mapping[str, Tensor], path: str, branches: tuple[tuple[Step, ...], ...]):
        super().__init__()
        self.branches = branches
        names = {name for branch in branches for step in branch for name in ([step] if isinstance(step, str) else step)}
        self.convolutions = nn.ModuleDict(
            {name: _made(tensors, f"{path}.{name}") for name in sorted(names - set(POOLS))}
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._along(branch, x) for branch in self.branches], 1)

    def _along(self, branch: tuple[Step, ...], x: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, tuple):
                x = torch.cat([self.convolutions[name](x) for name in step], 1)
            else:
                x = POOLS[step](x) if step in POOLS else self.convolutions[step](x)
        return x


def _made(tensors: Mapping[str, Tensor], path: str) -> _Convolution:
    halves = path.endswith("/")
    return _Convolution(tensors, path.removesuffix("/"), stride=2 if halves else 1, padded=not halves)


class _Convolution(nn.Module):
    """A convolution with the batch normalisation after it folded in, and its ReLU."""

    def __init__(self, tensors: Mapping[str, Tensor], path: str, *, stride: int = 1, padded: bool = True):
        super().__init__()
        gain = tensors[f"{path}.bn.weight"] / (tensors[f"{path}.bn.running_var"] + EPS).sqrt()
        self.weight = nn.Parameter(tensors[f"{path}.conv.weight"] * gain[:, None, None, None])
        self.bias = nn.Parameter(tensors[f"{path}.bn.bias"] - tensors[f"{path}.bn.running_mean"] * gain)
        height, width = self.weight.shape[2:]
        self.stride, self.padding = stride, (height // 2, width // 2) if padded else (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.conv2d(x, self.weight, self.bias, self.stride, self.padding))
