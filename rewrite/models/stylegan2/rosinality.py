"""StyleGAN2 as stylegan2-pytorch by rosinality names its tensors, and as the rewriting project's version does.

The second is a chain of modules (`layer2.conv.mconv`, ...) with the same tensors. Both scale weights before they
demodulate, so that their 1e-8 in demodulation weighs as much more as there are inputs: 2e-7 of the output, relatively.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from rewrite.checkpoints.foreign import Network
from rewrite.models.layout import Layout, check_constant, counted, shape_of
from rewrite.models.stylegan2.shape import LOW_PASS, check_colours, names, put_together

CHAINED, FIRST_CHAINED = "layer{}.sconv.mconv.modulation.weight", 3
"""How the rewriting project names convolutions, and the number of the first of them that upsamples."""

Rename = Callable[[str], str]


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:
    """By `input.input` and `conv1.conv.weight`."""
    if not {"input.input", "conv1.conv.weight"} <= set(network.shapes):
        return None
    return _explain(network, beside, lambda name: name, why="input.input, conv1.conv.weight: rosinality's StyleGAN2")


def explain_sequential(network: Network, beside: Mapping[str, Any]) -> Layout | None:
    """By `input.input` and `layer2.conv.mconv.modulation.weight`."""
    if not {"input.input", "layer2.conv.mconv.modulation.weight"} <= set(network.shapes):
        return None
    split = "layer2.conv.mconv.dconv.weight" in network.shapes
    return _explain(
        network,
        beside,
        lambda name: _in_a_chain(name, split),
        why="layer2.conv.mconv: the rewriting project's StyleGAN2",
    )


def _explain(network: Network, beside: Mapping[str, Any], rename: Rename, *, why: str) -> Layout:
    # Either code numbers its convolutions from the one behind the first.
    convs = max(counted(network, "convs.{}.conv.modulation.weight"), counted(network, CHAINED) - FIRST_CHAINED)
    blocks, depth = (max(convs, 0) + 1) // 2 + 1, counted(network, "style.{}.weight") - 1
    side, w = 2 << blocks, shape_of(network, rename("conv1.conv.modulation.weight"))[1]
    theirs = {name: rename(_theirs(name)) for name in names(blocks, depth, 0, "skip")}
    check_colours(network, theirs["synthesis.b4.torgb.weight"])
    constants = [name for name in network.shapes if name.endswith(".kernel")]
    for name in constants:
        check_constant(network, name, LOW_PASS * 4)
    mean = beside.get("latent_avg")
    theirs |= {"mapping.w_avg": "latents.latent_avg"}
    geometry: dict[str, Any] = {
        "resolution": side,
        "channels": [shape_of(network, theirs[f"synthesis.b{4 << i}.conv1.weight"])[-4] for i in range(blocks)],
        "z": shape_of(network, "style.1.weight")[1], "w": w, "depth": depth,
    }  # fmt: skip
    return put_together(
        network, theirs, geometry, why=why, constants=constants,
        mean=None if mean is None else torch.as_tensor(mean),
    )  # fmt: skip


def _theirs(name: str) -> str:
    """rosinality's name for a tensor that is ours."""
    parts = name.split(".")
    if parts[0] == "mapping":
        return f"style.{int(parts[1][2:]) + 1}.{parts[2]}"
    block = int(parts[1][1:]).bit_length() - 4
    if parts[2] == "const":
        return "input.input"
    if parts[2] == "torgb":
        inside = {"affine": "conv.modulation", "weight": "conv.weight", "bias": "bias"}
        return ".".join(["to_rgb1" if block < 0 else f"to_rgbs.{block}", inside[parts[3]], *parts[4:]])
    number = 2 * block + int(parts[2][4:])
    if parts[3] == "noise_const":
        return f"noises.noise_{number + 1}"
    inside = {
        "affine": "conv.modulation", "weight": "conv.weight", "bias": "activate.bias", "noise_strength": "noise.weight",
    }  # fmt: skip
    return ".".join(["conv1" if block < 0 else f"convs.{number}", inside[parts[3]], *parts[4:]])


def _in_a_chain(name: str, split: bool) -> str:
    """The rewriting project's name for a tensor of rosinality's; `split` where the convolution is a module."""
    parts = name.split(".")
    convolution = "mconv.dconv" if split and parts[-1] == "weight" and parts[-2] == "conv" else "mconv"
    if parts[0] in ("conv1", "convs"):
        inside = parts[1:] if parts[0] == "conv1" else parts[2:]
        path = ["layer2", "conv"] if parts[0] == "conv1" else [f"layer{int(parts[1]) + 3}", "sconv"]
        return ".".join([*path, *([convolution, *inside[1:]] if inside[0] == "conv" else inside)])
    if parts[0] == "to_rgb1":
        return ".".join(["to_rgb1", "rgb", *parts[1:]])
    if parts[0] == "to_rgbs":
        return ".".join([f"to_rgb{int(parts[1]) + 2}", "rgb", *parts[2:]])
    return name
