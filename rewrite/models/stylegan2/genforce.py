"""StyleGAN2 as genforce names its tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rewrite.checkpoints.foreign import Network
from rewrite.errors import RewriteError
from rewrite.models.layout import Key, Layout, check_constant, counted, flipped, shape_of, shifted
from rewrite.models.stylegan2.shape import LOW_PASS, check_colours, names, put_together


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """By `synthesis.early_layer.const`.

    Upsampling kernels lie there turned by half a turn, and modulation has its 1 in the code, not in the bias.
    """
    shapes = network.shapes
    if "synthesis.early_layer.const" not in shapes:
        return None
    constants = [name for name in shapes if name.endswith((".filter.kernel", "synthesis.upsample.kernel"))]
    for name in constants:
        check_constant(network, name, LOW_PASS * 4)
    count, depth = counted(network, "synthesis.layer{}.weight"), counted(network, "mapping.dense{}.weight")
    blocks = count // 2 + 1
    architecture = "skip" if "synthesis.output0.weight" in shapes else "orig"
    check_colours(network, f"synthesis.output{blocks - 1}.weight")
    joint, apart = "mapping.label_weight" in shapes, "mapping.LabelEmbed.weight" in shapes
    classes = shapes["mapping.label_weight"][0] if joint else shapes["mapping.LabelEmbed.weight"][1] if apart else 0
    w = shape_of(network, "synthesis.layer0.style.weight")[1]
    theirs = {name: _theirs(name) for name in names(blocks, depth, classes, architecture)}
    theirs |= {"mapping.w_avg": "truncation.w_avg"}
    if len(shapes.get("truncation.w_avg", (w,))) != 1 or shapes.get("truncation.w_avg", (w,))[0] != w:
        raise RewriteError("this network maps a latent to a style for each layer; expected one style for all")
    geometry: dict[str, Any] = {
        "resolution": 2 << blocks,
        "channels": [shape_of(network, f"synthesis.layer{2 * i}.weight")[0] for i in range(blocks)],
        "z": shape_of(network, "mapping.dense0.weight")[1] - (w if classes else 0),
        "w": w, "depth": depth, "classes": classes, "architecture": architecture, "joint": joint,
    }  # fmt: skip
    special = {
        ours: flipped(name) if ours.endswith("conv0.weight") else shifted(name, 1.0)
        for ours, name in theirs.items()
        if name in shapes and ours.endswith((".conv0.weight", ".affine.bias"))
    }
    notes = []
    if joint:
        factor = math.sqrt(classes)
        special["mapping.embed.weight"] = Key(
            "mapping.label_weight", lambda t: t.T * factor, lambda t: (t / factor).T.contiguous()
        )
        notes.append("Labels and latents are brought to unit moment together, as this code does.")
    return put_together(
        network, theirs, geometry, special=special, constants=constants, notes=notes,
        why="synthesis.early_layer.const: genforce's StyleGAN2",
    )  # fmt: skip


def _theirs(name: str) -> str:
    """genforce's name for a tensor that is ours."""
    parts = name.split(".")
    if parts[:2] == ["mapping", "embed"]:
        return f"mapping.LabelEmbed.{parts[2]}"
    if parts[0] == "mapping":
        return f"mapping.dense{parts[1][2:]}.{parts[2]}"
    block = int(parts[1][1:]).bit_length() - 3
    if parts[2] == "const":
        return "synthesis.early_layer.const"
    path = f"output{block}" if parts[2] == "torgb" else f"layer{2 * block - 1 + int(parts[2][4:])}"
    inside = {"affine": "style", "noise_const": "noise"}
    return ".".join(["synthesis", path, inside.get(parts[3], parts[3]), *parts[4:]])
