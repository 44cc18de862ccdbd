"""What an operator needs to know about the layers of a StyleGAN3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewrite.generator import Gain, Generator, Layer, UnitForm
from rewrite.models.equalised import EPS
from rewrite.models.mapping import mapping_layers
from rewrite.models.stylegan3.network import SLOPE, StyleGAN3, ToRGB

CAVEATS = {
    "set": "the filters around the activation ripple, and see nothing beyond the border, so the constant does too",
    "scale": "the layer that reads it is demodulated: it divides by a norm that shrinks or grows with it",
}


def generator(module: StyleGAN3, *, name: str = "", card: Mapping[str, Any] | None = None) -> Generator:
    """The generator of a StyleGAN3: mapping, modulated convolutions, image layer.

    Features lie on more cells than the image has: a margin on each side lies beyond it.
    """
    stored = list(module.state_dict())
    start, geometry = module.geometry["input"], module.geometry
    layers = mapping_layers(module.mapping, module.mapping.depth)
    upstream = [key for key in stored if key.startswith(("mapping.", "synthesis.input."))]
    names, size, rate = list(module.parts), start["size"], int(start["rate"])
    for row, (part, spec) in enumerate(zip(module.parts.values(), geometry["layers"], strict=True), start=1):
        path, image, kernel = f"synthesis.{spec['name']}", isinstance(part, ToRGB), spec["kernel"]
        after = rate * spec["up"] // spec["down"]
        inside = [key for key in stored if key.startswith(f"{path}.")]
        units = None
        if not image:
            reader = f"synthesis.{names[row]}.affine"
            style = (f"{reader}.weight", 0), (f"{reader}.bias", 0)
            units = UnitForm(
                constant=((f"{path}.weight", 0),), level=f"{path}.bias", scaled=style, silenced=style, slope=SLOPE,
                gain=2**0.5, clamp=geometry["clamp"], caveats=CAVEATS,
            )  # fmt: skip
        layers[path] = Layer(
            name=path, module=part.convolution, weight=f"{path}.weight", bias=f"{path}.bias", kind="modulated conv",
            shape=tuple(part.weight.shape), out_axis=0, in_axis=1, kernel_axes=(2, 3), padding=(kernel - 1,) * 2,
            in_resolution=(size,) * 2, out_resolution=(size + kernel - 1,) * 2,
            in_margin=(size - rate) // 2, out_margin=(size - rate + kernel - 1) // 2,
            unit_margin=(spec["size"] - after) // 2, gain=None if image else Gain(part.affine, EPS),
            follows=("bias",) if image else ("gain", "bias", "activation"), stage=row,
            upstream=(*upstream, *(f"{path}.{key}" for key in ("affine.weight", "affine.bias", "magnitude_ema"))),
            units=units,
        )  # fmt: skip
        upstream += inside
        size, rate = spec["size"], after
    return Generator(
        module=module, layers=layers, z_dim=geometry["z"], resolution=geometry["resolution"],
        classes=geometry["classes"], architecture="stylegan3", name=name, card=card or {},
    )  # fmt: skip
