"""How far painted images are from the scenes that they should be, with as much care for a door as for the sky."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scenes.classes import CLASSES
from scenes.render import render

COUNTED = 512
RARE = 0.005
"""The share of all pixels below which a class weighs no more."""
SCALES = {1: 1.0, 2: 0.5, 4: 0.5}
"""Weights of the difference at full size, at half and at a fourth: a thing a little out of its place is near it."""


def unlikeness(images: Tensor, scenes: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute difference of images (N, 3, H, W), over scales; a pixel weighs as its class (N, H, W) is rare."""
    weight = _weights().to(images.device)[labels][:, None]
    apart = images - scenes
    return sum(
        share * (F.avg_pool2d(apart, scale).abs() * F.avg_pool2d(weight, scale)).mean()
        for scale, share in SCALES.items()
    )  # type: ignore[return-value]


@cache
def _weights() -> Tensor:
    """Of each class: over the root of its share of all pixels, 1 on average."""
    counts = np.bincount(render(range(COUNTED))[1].ravel(), minlength=len(CLASSES))
    shares = torch.from_numpy(counts / counts.sum()).float()
    weights = shares.clamp(min=RARE) ** -0.5
    return weights / (weights * shares).sum()
