"""StyleGAN3 as NVIDIA's code names its tensors, and StyleGAN-XL, stem and super-resolution, which has the same kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from rewrite.checkpoints.foreign import Network
from rewrite.errors import RewriteError
from rewrite.models.layout import Key, Layout, counted, fitting, shape_of
from rewrite.models.stylegan3.design import TAPS, Spec
from rewrite.models.stylegan3.network import StyleGAN3
from rewrite.unfilled import stored_shapes

MARGIN = 10
"""Cells beyond the image on each side, where a file does not say."""


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """By `synthesis.input.freqs`; StyleGAN-XL by `mapping.embed_proj.weight` or `mapping.embed.weight` of a table."""
    shapes = network.shapes
    if "synthesis.input.freqs" not in shapes:
        return None
    inside: Mapping[str, Any] = network.facts.get("modules", {})
    specs = _specs(network, inside)
    w, depth = shape_of(network, "mapping.w_avg")[-1], counted(network, "mapping.fc{}.weight")
    large = "mapping.embed_proj.weight" in shapes
    entered = shape_of(network, "mapping.fc0.weight")[1]
    classes = shapes["mapping.embed.weight"][0 if large else 1] if large or _is_dense(network) else 0
    geometry: dict[str, Any] = {
        "resolution": specs[-1].size, "input": _input(network, specs, inside), "layers": [asdict(s) for s in specs],
        "z": entered // 2 if large else entered - (w if classes else 0), "w": w, "depth": depth, "classes": classes,
        "embedding": shapes["mapping.embed.weight"][1] if large else 0, "clamp": _clamp(specs, inside),
    }  # fmt: skip
    expected = stored_shapes(StyleGAN3, geometry)
    keys = {ours: _key(network, ours, shape) for ours, shape in expected.items()}
    # An unconditional StyleGAN-XL keeps the table of the classes that it does not look at.
    idle = [name for name in shapes if name == "mapping.embed.weight" and not classes]
    family = "StyleGAN-XL" if large or idle else "StyleGAN3"
    return Layout("stylegan3", f"synthesis.input.freqs: {family}", geometry, keys, constants=idle)


def _is_dense(network: Network) -> bool:
    """Labels go through a dense layer, which has a bias, and not through a table."""
    return "mapping.embed.bias" in network.shapes


def _specs(network: Network, inside: Mapping[str, Any]) -> list[Spec]:
    """The layers in order, each by its own attributes where the file has them: super-resolution follows no formula."""
    named = {m[0] for name in network.shapes if (m := re.match(r"L\d+_\d+_\d+(?=\.)", name.removeprefix("synthesis.")))}
    order = inside.get("synthesis", {}).get("attributes", {}).get("layer_names")
    if not isinstance(order, list) or set(order) != named:
        order = sorted(named, key=lambda name: int(name[1:].partition("_")[0]))
    if len(order) < 2:
        raise RewriteError("the file lacks the layers L0_..., L1_..., ... of a StyleGAN3; get a fresh copy of it")
    return [_spec(network, name, _attributes(inside, name), image=name == order[-1]) for name in order]


def _spec(network: Network, name: str, attributes: Mapping[str, Any], *, image: bool) -> Spec:
    path, (size, _) = f"synthesis.{name}", map(int, name.split("_")[1:])
    channels, _, kernel, _ = shape_of(network, f"{path}.weight")
    if image:
        return Spec(name, channels, size, kernel)
    up, down = shape_of(network, f"{path}.up_filter"), shape_of(network, f"{path}.down_filter")
    return Spec(
        name, channels, size, kernel, _whole(attributes, "up_factor", up[0] // TAPS),
        _whole(attributes, "down_factor", down[0] // TAPS), up[0], down[0], len(down) == 2,
    )  # fmt: skip


def _input(network: Network, specs: list[Spec], inside: Mapping[str, Any]) -> dict[str, Any]:
    said = inside.get("synthesis.input", {}).get("attributes", {})
    first = _attributes(inside, specs[0].name)
    size = first.get("in_size", said.get("size", specs[0].size))
    size = int(size[0] if isinstance(size, list) else size)
    return {
        "channels": shape_of(network, "synthesis.input.weight")[0], "size": size,
        "rate": int(said.get("sampling_rate", size - 2 * MARGIN)), "bandwidth": float(said.get("bandwidth", 2.0)),
    }  # fmt: skip


def _clamp(specs: list[Spec], inside: Mapping[str, Any]) -> float | None:
    clamp = _attributes(inside, specs[0].name).get("conv_clamp", 256.0)
    return None if clamp is None else float(clamp)


def _attributes(inside: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = inside.get(f"synthesis.{name}", {}).get("attributes", {})
    return found


def _whole(attributes: Mapping[str, Any], name: str, otherwise: int) -> int:
    return int(attributes.get(name, otherwise))


def _key(network: Network, name: str, shape: tuple[int, ...]) -> Key:
    found = fitting(name, shape, shape_of(network, name))
    return Key(name, found.ours, _nonzero) if re.search(r"\.L\d+_\d+_\d+\.weight$", name) else found


def _nonzero(weight: Tensor) -> Tensor:
    if weight.shape[-1] and not weight.flatten(1).any(1).all():
        raise RewriteError(
            "the edit leaves a filter of zeros, which this code divides by its norm, so that the image would be no "
            "number; save as safetensors instead, or silence the unit where it is read"
        )
    return weight
