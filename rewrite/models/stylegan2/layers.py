"""What an operator needs to know about the layers of a StyleGAN2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from rewrite.generator import Gain, Generator, Layer
from rewrite.models.equalised import EPS
from rewrite.models.mapping import mapping_layers
from rewrite.models.stylegan2.network import Modulated, Skip, StyleGAN2, ToRGB
from rewrite.models.stylegan2.units import units


def generator(module: StyleGAN2, *, name: str = "", card: Mapping[str, Any] | None = None) -> Generator:
    """The generator of a StyleGAN2: mapping, modulated convolutions, image layers, by their paths."""
    stored = list(module.state_dict())
    upstream = [key for key in stored if key.startswith("mapping.")]
    layers, stage = mapping_layers(module.mapping, module.mapping.depth), 0
    for i, block in enumerate(module.blocks):
        path, resolution = f"synthesis.b{4 << i}", 4 << i
        upstream += [] if i else [f"{path}.const"]
        around: list[str] = []
        for part in block.parts:
            inside = [key for key in stored if key.startswith(f"{path}.{part}.")]
            layers[f"{path}.{part}"] = _layer(module, f"{path}.{part}", resolution, stage, upstream)
            if part == "skip":
                around = inside
            elif part != "torgb":
                upstream += inside
            if part == "conv1":
                upstream += around
            # A residual block is one stage: there is nowhere in it to stop.
            stage += part in ("conv1", "torgb") or (part == "conv0" and not block.residual)
    return Generator(
        module=module, layers=layers, z_dim=module.mapping.z, resolution=module.geometry["resolution"],
        classes=module.mapping.classes, architecture="stylegan2", name=name, card=card or {},
    )  # fmt: skip


def _layer(module: StyleGAN2, path: str, resolution: int, stage: int, upstream: Sequence[str]) -> Layer:
    part = module.get_submodule(path)
    if isinstance(part, Skip):
        return Layer(
            name=path, module=part.convolution, weight=f"{path}.weight", bias=None, kind="conv",
            shape=tuple(part.weight.shape), out_axis=0, in_axis=1, kernel_axes=(2, 3), scale=part.scale,
            in_resolution=(resolution // 2,) * 2, out_resolution=(resolution // 2,) * 2,
            follows=("blur",), stage=stage, upstream=tuple(upstream),
        )  # fmt: skip
    part = cast(Modulated | ToRGB, part)
    up, image = part.convolution.up, isinstance(part, ToRGB)
    return Layer(
        name=path, module=part.convolution, weight=f"{path}.weight", bias=f"{path}.bias",
        kind="modulated transposed conv" if up else "modulated conv",
        shape=tuple(part.weight.shape), out_axis=0, in_axis=1, kernel_axes=(2, 3),
        stride=(2, 2) if up else (1, 1), padding=(0, 0) if up or image else (1, 1),
        in_resolution=(resolution >> up,) * 2, out_resolution=(resolution + up,) * 2,
        gain=None if image else Gain(part.affine, EPS),
        follows=("bias",) if image else ("gain", *["blur"] * up, "noise", "bias", "activation"),
        stage=stage, upstream=(*upstream, f"{path}.affine.weight", f"{path}.affine.bias"),
        units=units(module, path),
    )  # fmt: skip
