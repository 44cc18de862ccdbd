"""What is known of a layer's keys, and of which keys it is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edits.canonical import tensor_bytes
from rewrite.generator import Generator, Layer, Noise
from rewrite.memory import lag_reach
from rewrite.stats import SecondMoments

VERSION = 3
"""Of the arithmetic of the sums: a change of it must not find older statistics."""


@dataclass(frozen=True)
class Background:
    """Moments of a layer's keys with their lags, and E[s^2] of its modulation (in,), or None where it has no gain."""

    moments: SecondMoments
    style_square: Tensor | None


def nothing(layer: Layer) -> Background:
    """Before the first image."""
    style = torch.zeros(layer.in_features, dtype=torch.float64) if layer.gain else None
    return Background(SecondMoments.empty(layer.in_features, lag_reach(layer)), style)


def conditions(
    generator: Generator, layer: Layer, samples: int, stream: int, truncation: float, noise: Noise
) -> dict[str, Any]:
    """All that the statistics hang on, but for the machine they are counted on."""
    return {
        "version": VERSION,
        "architecture": generator.architecture,
        "upstream": generator.fingerprint(layer),
        "layer": layer.name,
        "latents": [stream, samples, generator.classes],
        "truncation": truncation,
        "noise": noise,
    }


def seal(title: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """SHA-256 of statistics under their title: damage and mix-ups are not mistaken for statistics."""
    total = hashlib.sha256(title.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor_bytes(tensor))
    return torch.tensor(list(total.digest()), dtype=torch.uint8)
