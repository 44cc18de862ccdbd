"""The mapping network of the StyleGANs: z to w."""

from __future__ import annotations

import copy
import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.generator import MAPPING, NO_PLACES, Layer
from rewrite.models.equalised import FullyConnected, one_hot, unit_moment

MAPPING_RATE = 0.01
"""Learning-rate multiplier of the mapping network: its stored weights are this much larger than they act."""


class MappingNetwork(nn.Module):
    """z (N, z), and labels (N,) where there are classes, to w (N, w).

    `gain` is that of each activation; StyleGAN of 2018 has it inside the weights instead (`weight_gain`). z and what is
    embedded of the label are brought to unit moment each for itself, or with `joint` as one vector.
    """

    def __init__(
        self, z: int, w: int, depth: int, classes: int, *,
        gain: float = math.sqrt(2), weight_gain: float = 1.0, joint: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.z, self.depth, self.classes = z, depth, classes
        self.gain, self.joint = gain, joint
        if classes:
            self.embed = FullyConnected(classes, w)
        inputs = z + w if classes else z
        for i in range(depth):
            self.add_module(f"fc{i}", FullyConnected(w if i else inputs, w, rate=MAPPING_RATE, gain=weight_gain))
        self.w_avg: Tensor
        self.register_buffer("w_avg", torch.zeros(w))

    def forward(self, z: Tensor, label: Tensor | None) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.z:
            raise RewriteError(f"latents have shape {tuple(z.shape)}; this network takes (N, {self.z})")
        x = z
        if self.classes:
            embedded = self.embed(one_hot(label, self.classes, z))
            x = torch.cat([z, embedded] if self.joint else [unit_moment(z), unit_moment(embedded)], dim=1)
        x = x if self.classes and not self.joint else unit_moment(x)
        for i in range(self.depth):
            x = F.leaky_relu(self.get_submodule(f"fc{i}")(x), 0.2) * self.gain
        return x


def mapping_layers(mapping: nn.Module, depth: int) -> dict[str, Layer]:
    """The dense layers `fc0`, `fc1`, ... of a mapping network that its generator calls `mapping`."""
    layers: dict[str, Layer] = {}
    before = [f"mapping.{key}" for key in mapping.state_dict() if key.startswith("embed")]
    for i in range(depth):
        path, dense = f"mapping.fc{i}", cast(FullyConnected, mapping.get_submodule(f"fc{i}"))
        layers[path] = Layer(
            name=path, module=dense.product, weight=f"{path}.weight", bias=f"{path}.bias", kind="linear",
            shape=tuple(dense.weight.shape), out_axis=0, in_axis=1, scale=dense.scale,
            follows=("bias", "activation"), stage=MAPPING, refuses=NO_PLACES, upstream=tuple(before),
        )  # fmt: skip
        before += [f"{path}.weight", f"{path}.bias"]
    return layers


def mean_style(mapping: MappingNetwork, draws: int = 4096) -> Tensor:
    """The mean of w (w,) over seeded latents; over all labels, where there are classes."""
    z = torch.from_numpy(np.random.RandomState(0).standard_normal((draws, mapping.z)))
    label = torch.arange(draws) % mapping.classes if mapping.classes else None
    # In float64, so that every machine rounds to the same float32.
    with torch.no_grad():
        return cast(Tensor, copy.deepcopy(mapping).double()(z, label)).mean(0).float()
