"""StyleGAN2 as NVIDIA's TensorFlow code (stylegan2, stylegan2-ada) names its variables: config E and F."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rewrite.checkpoints.foreign import Network
from rewrite.models.layout import Key, Layout, counted, shape_of, shifted
from rewrite.models.stylegan2.shape import check_colours, names, put_together


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """By `synthesis/4x4/Conv/mod_weight`.

    Dense weights are (in, out), kernels (height, width, in, out), those that upsample turned by half a turn; modulation
    has its 1 in the code.
    """
    shapes = network.shapes
    if "synthesis/4x4/Conv/mod_weight" not in shapes:
        return None
    sides = [int(m[1]) for name in shapes if (m := re.fullmatch(r"synthesis/(\d{1,4})x\1/Conv1/weight", name))]
    blocks, depth = max([4, *sides]).bit_length() - 2, counted(network, "mapping/Dense{}/weight")
    last = 2 << blocks
    residual, summed = "synthesis/8x8/Skip/weight" in shapes, "synthesis/4x4/ToRGB/weight" in shapes
    architecture = "resnet" if residual else "skip" if summed else "orig"
    joint, apart = "mapping/LabelConcat/weight" in shapes, "mapping/LabelEmbed/weight" in shapes
    label = "mapping/LabelConcat/weight" if joint else "mapping/LabelEmbed/weight"
    classes = shapes[label][0] if joint or apart else 0
    w = shape_of(network, "synthesis/4x4/Conv/mod_weight")[0]
    theirs = {name: _theirs(name) for name in names(blocks, depth, classes, architecture)}
    if f"synthesis/{last}x{last}/ToRGB/weight" not in shapes:
        # The growing variant counts its image layers from the last.
        before, after = f"synthesis/{last}x{last}/ToRGB/", "synthesis/ToRGB_lod0/"
        theirs = {ours: name.replace(before, after) for ours, name in theirs.items()}
    colours = theirs[f"synthesis.b{last}.torgb.weight"]
    check_colours(Network({}, shapes={colours: shape_of(network, colours)[::-1]}), colours)
    kwargs = network.facts.get("init_kwargs", {})
    clamp = kwargs.get("conv_clamp")
    geometry: dict[str, Any] = {
        "resolution": last,
        "channels": [shape_of(network, theirs[f"synthesis.b{4 << i}.conv1.weight"])[3] for i in range(blocks)],
        "z": shape_of(network, "mapping/Dense0/weight")[0] - (w if classes else 0), "w": w, "depth": depth,
        "classes": classes, "clamp": None if clamp is None else float(clamp), "architecture": architecture,
        "joint": joint,
    }  # fmt: skip
    special = {ours: key for ours, name in theirs.items() if name in shapes and (key := _key(ours, name)) is not None}
    if joint:
        factor = math.sqrt(classes)
        special["mapping.embed.weight"] = Key(label, lambda t: t.T * factor, lambda t: (t / factor).T.contiguous())
    notes = ["Labels and latents are brought to unit moment together, as this code does."] if joint else []
    return put_together(
        network, theirs | {"mapping.w_avg": "dlatent_avg"}, geometry, special=special, notes=notes,
        constants=[name for name in shapes if name.rpartition("/")[2] == "lod"],
        why="synthesis/4x4/Conv/mod_weight: NVIDIA's StyleGAN2 for TensorFlow",
    )  # fmt: skip


def _theirs(name: str) -> str:
    """TensorFlow's name for a tensor that is ours."""
    parts = name.split(".")
    if parts[:2] == ["mapping", "embed"]:
        return f"mapping/LabelEmbed/{parts[2]}"
    if parts[0] == "mapping":
        return f"mapping/Dense{parts[1][2:]}/{parts[2]}"
    side = int(parts[1][1:])
    if parts[2] == "const":
        return "synthesis/4x4/Const/const"
    number = 0 if side == 4 else 2 * side.bit_length() - (7 if parts[2] == "conv0" else 6)
    if parts[-1] == "noise_const":
        return f"synthesis/noise{number}"
    module = {"conv0": "Conv0_up", "conv1": "Conv" if side == 4 else "Conv1", "torgb": "ToRGB", "skip": "Skip"}[
        parts[2]
    ]
    inside = f"mod_{parts[4]}" if parts[3] == "affine" else parts[3]
    return f"synthesis/{side}x{side}/{module}/{inside}"


def _key(ours: str, name: str) -> Key | None:
    """What is more than another name, or None."""
    if ours.endswith(".affine.bias"):
        return shifted(name, 1.0)
    if ours.endswith(".affine.weight") or (ours.startswith("mapping.") and ours.endswith(".weight")):
        return Key(name, lambda t: t.T, lambda t: t.T.contiguous())
    if not ours.endswith(".weight"):
        return None
    turned = ours.endswith((".conv0.weight", ".skip.weight"))

    def read(t: Tensor) -> Tensor:
        t = t.permute(3, 2, 0, 1)
        return t.flip(2, 3) if turned else t

    def write(t: Tensor) -> Tensor:
        t = t.flip(2, 3) if turned else t
        return t.permute(2, 3, 1, 0).contiguous()

    return Key(name, read, write)
