"""What the families of Karras et al. share: bare products, dense layers of equalised learning rate, norms of features.

Equalised learning rate (Karras et al. 2018, "Progressive Growing of GANs", section 4.1): the stored weight has unit
variance, and acts times a constant on every forward pass.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.errors import RewriteError

EPS = 1e-8


class Product(nn.Module):
    """key (N, in) and weight (out, in) to value (N, out). Bare, so that a hook sees the key."""

    def forward(self, key: Tensor, weight: Tensor) -> Tensor:
        return F.linear(key, weight)


class Convolution(nn.Module):
    """key (N, in, H, W) and stored weight (out, in, k, k) to value. Bare, so that a hook sees the key.

    `padding` is k // 2 where it is left out. With `up` it is a transposed convolution of stride 2 without padding: H to
    2H + 1.
    """

    def __init__(self, *, up: bool = False, padding: int | None = None):
        super().__init__()
        self.up, self.padding = up, padding

    def forward(self, key: Tensor, weight: Tensor) -> Tensor:
        if self.up:
            return F.conv_transpose2d(key, weight.transpose(0, 1), stride=2)
        return F.conv2d(key, weight, padding=weight.shape[-1] // 2 if self.padding is None else self.padding)


class FullyConnected(nn.Module):
    """A dense layer with equalised learning rate: the weight acts times gain * rate / sqrt(in), the bias times rate."""

    def __init__(self, inputs: int, outputs: int, *, rate: float = 1.0, bias: float = 0.0, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.product = Product()
        self.rate, self.scale = rate, gain * rate / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.product(x, self.weight * self.scale)) + self.bias * self.rate


def unit_moment(x: Tensor) -> Tensor:
    """x (N, C, ...) over the root of its mean square over C."""
    return x * (x.square().mean(1, keepdim=True) + EPS).rsqrt()


def one_hot(label: Tensor | None, classes: int, like: Tensor) -> Tensor:
    """Labels (N,) of whole numbers as rows (N, classes) of the type of `like` (N, ...); RewriteError for others."""
    if label is None or label.is_floating_point() or not ((label >= 0) & (label < classes)).all():
        raise RewriteError(f"the label is {label}; expected whole numbers from 0 to {classes - 1}, one an image")
    return F.one_hot(label.to(like.device).long().expand(len(like)), classes).to(like.dtype)
