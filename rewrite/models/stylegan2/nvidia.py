"""StyleGAN2 as NVIDIA's PyTorch repositories (stylegan2-ada-pytorch, stylegan3) name its tensors: as we do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewrite.checkpoints.foreign import Network
from rewrite.errors import RewriteError
from rewrite.models.layout import Layout, check_constant, counted, shape_of
from rewrite.models.stylegan2.shape import LOW_PASS, check_colours, names, put_together


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """By `synthesis.b4.const`. Its clamp is not among the tensors: it is read off the pickled module's attributes."""
    shapes = network.shapes
    if "synthesis.b4.const" not in shapes:
        return None
    constants = [name for name in shapes if name.endswith("resample_filter")]
    for name in constants:
        check_constant(network, name, LOW_PASS)
    depth = counted(network, "mapping.fc{}.weight")
    blocks = max(counted(network, "synthesis.b{}.conv1.weight").bit_length() - 2, 1)
    sides = [4 << i for i in range(blocks)]
    residual, summed = "synthesis.b8.skip.weight" in shapes, "synthesis.b4.torgb.weight" in shapes
    architecture = "resnet" if residual else "skip" if summed else "orig"
    check_colours(network, f"synthesis.b{sides[-1]}.torgb.weight")
    w = shape_of(network, "synthesis.b4.conv1.affine.weight")[1]
    classes = shapes["mapping.embed.weight"][1] if "mapping.embed.weight" in shapes else 0
    geometry: dict[str, Any] = {
        "resolution": sides[-1],
        "channels": [shape_of(network, f"synthesis.b{side}.conv1.weight")[0] for side in sides],
        "z": shape_of(network, "mapping.fc0.weight")[1] - (w if classes else 0),
        "w": w, "depth": depth, "classes": classes, "clamp": _clamp(network.facts), "architecture": architecture,
    }  # fmt: skip
    ours = [*names(blocks, depth, classes, architecture), "mapping.w_avg"]
    return put_together(
        network, {name: name for name in ours}, geometry,
        why="synthesis.b4.const: NVIDIA's names of StyleGAN2", constants=constants,
    )  # fmt: skip


def _clamp(facts: Mapping[str, Any]) -> float | None:
    """That of the layers as they were pickled; else of the arguments, for which both repositories have defaults."""
    inside = facts.get("modules", {})
    for path in ("synthesis.b4.conv1", "synthesis.b8.conv0"):
        if "conv_clamp" in (attributes := inside.get(path, {}).get("attributes", {})):
            return _number(attributes["conv_clamp"])
    given = facts.get("init_kwargs", {})
    nested = "synthesis_kwargs" in given or not given
    return _number(given.get("synthesis_kwargs", {}).get("conv_clamp") if nested else given.get("conv_clamp", 256))


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise RewriteError(
            f"the file says that activations are clamped at {value!r}; expected a number above 0 or None"
        )
    return float(value)
