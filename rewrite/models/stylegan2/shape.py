"""Which StyleGAN2 it is that has such tensors, and how it is put together from a file's keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from einops import einsum
from torch import Tensor

from rewrite.checkpoints.foreign import Network
from rewrite.errors import RewriteError
from rewrite.models.layout import Key, Layout, fitting, shape_of
from rewrite.models.mapping import MappingNetwork, mean_style
from rewrite.models.stylegan2.network import StyleGAN2
from rewrite.unfilled import stored_shapes, unfilled

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])
LOW_PASS = einsum(TAPS, TAPS, "h, w -> h w") / 64
"""The low-pass filter as NVIDIA stores it, of sum 1; others store it times 4."""

Names = Mapping[str, str]
"""From our name of a tensor to the file's."""


def names(blocks: int, depth: int, classes: int, architecture: str) -> list[str]:
    """Our names of all tensors of such a network, but for the mean style."""
    dense = ["weight", "bias"]
    style = ["affine.weight", "affine.bias"]
    found = [f"mapping.embed.{part}" for part in dense] if classes else []
    found += [f"mapping.fc{i}.{part}" for i in range(depth) for part in dense]
    for i in range(blocks):
        path, last = f"synthesis.b{4 << i}", i == blocks - 1
        found += [] if i else [f"{path}.const"]
        for conv in ("conv0", "conv1") if i else ("conv1",):
            found += [f"{path}.{conv}.{part}" for part in (*style, *dense, "noise_strength", "noise_const")]
        if architecture == "skip" or last:
            found += [f"{path}.torgb.{part}" for part in (*style, *dense)]
        found += [f"{path}.skip.weight"] if architecture == "resnet" and i else []
    return found


def put_together(
    network: Network, names: Names, geometry: Mapping[str, Any], *, why: str, mean: Tensor | None = None,
    special: Mapping[str, Key] | None = None, constants: Collection[str] = (), notes: Sequence[str] = (),
) -> Layout:  # fmt: skip
    """The layout of a StyleGAN2 whose tensors have these names in the file.

    Noise that the file lacks is silent. The mean style is under its name, `mean`, or made of seeded latents. `special`
    are keys of ours that are more than another name. RewriteError for tensors that are missing or of other shapes.
    """
    expected = stored_shapes(StyleGAN2, geometry)
    keys, given, said = dict(special or {}), {}, list(notes)
    for ours, shape in expected.items():
        theirs = names.get(ours, "")
        if ours in keys:
            continue
        if theirs in network.shapes:
            keys[ours] = fitting(theirs, shape, tuple(network.shapes[theirs]))
        elif ours.endswith((".noise_strength", ".noise_const")):
            given[ours] = torch.zeros(shape)
        elif ours == "mapping.embed.bias" and geometry.get("joint"):
            given[ours] = torch.zeros(shape)  # This kind of embedding has none.
        elif ours == "mapping.w_avg":
            given[ours] = torch.zeros(shape) if mean is None else mean.reshape(shape).float()
        else:
            shape_of(network, theirs or ours)
    if any(name.endswith(".noise_const") for name in given):
        said.append("The file holds no noise, so there is none in the images.")
    derived = None
    if mean is None and "mapping.w_avg" not in keys:
        said.append("The file holds no mean style; it was taken over 4,096 latents, seeded.")
        z, w, depth = geometry["z"], geometry["w"], geometry["depth"]
        classes, joint = geometry.get("classes", 0), geometry.get("joint", False)
        derived = partial(_mean, lambda: MappingNetwork(z, w, depth, classes, joint=joint))
    return Layout("stylegan2", why, dict(geometry), keys, given, tuple(constants), tuple(said), derived)


def check_colours(network: Network, name: str) -> None:
    """RewriteError unless this image layer paints red, green and blue."""
    if (channels := shape_of(network, name)[-4]) != 3:
        raise RewriteError(f"this network paints {channels} channels; expected 3, red, green and blue")


def _mean(make: Callable[[], MappingNetwork], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    with unfilled():
        mapping = make()
    own = {name.removeprefix("mapping."): t for name, t in state.items() if name.startswith("mapping.")}
    mapping.load_state_dict(own, assign=True)
    return {"mapping.w_avg": mean_style(mapping)}
