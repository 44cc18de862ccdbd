"""PGGAN, the progressively grown GAN: the network of GAN Dissection.

Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation". Layers are named as in
GAN Dissection, from `layer1`; only the image layer of the full resolution is kept, since growing is over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Network
from rewrite.errors import RewriteError
from rewrite.generator import Flow, Generator, Layer, UnitForm
from rewrite.models.equalised import Convolution, unit_moment
from rewrite.models.layout import Key, Layout, counted, reshaped, same, shape_of

SLOPE = 0.2


class PGGAN(nn.Module):
    """z (N, `z`) to images (N, 3, R, R) of about -1 to 1, not clamped, R = 2 * 2 ** len(channels).

    `channels` are the widths at 4, 8, ... R; each resolution has two layers, of which the first doubles it.
    """

    mean_style = None

    def __init__(self, *, z: int = 512, channels: Sequence[int]):
        super().__init__()
        if not all(type(n) is int and 1 <= n <= 8192 for n in (z, *channels)) or not 1 <= len(channels) <= 10:
            raise RewriteError(f"no PGGAN has z {z} and channels {list(channels)}")
        self.geometry: dict[str, Any] = {"z": z, "channels": list(channels)}
        before, number = z, 0
        for i, width in enumerate(channels):
            for second in (False, True):
                number += 1
                first = number == 1
                part = Part(before, width, 4 if first else 3, up=i > 0 and not second, padding=3 if first else 1)
                self.add_module(f"layer{number}", part)
                before = width
        self.output = Part(before, 3, 1, gain=1.0, padding=0)

    @classmethod
    def random(cls, seed: int, **geometry: Any) -> PGGAN:
        """An untrained network, for tests: one a seed. In eval mode, without gradients."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            module = cls(**geometry)
            for part in module.parts.values():
                part.bias.normal_(std=0.1)
            module.output.weight.mul_(0.5)
        return module.eval().requires_grad_(False)

    @property
    def parts(self) -> dict[str, Part]:
        return {name: cast(Part, part) for name, part in self.named_children()}

    @property
    def stages(self) -> list[Callable[[Flow], Flow]]:
        """One a layer."""
        *hidden, _ = self.parts.values()
        return [partial(self._stage, part) for part in hidden] + [self._image]

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """z itself: this family has no mapping."""
        if z.ndim != 2 or z.shape[1] != self.geometry["z"]:
            raise RewriteError(f"latents have shape {tuple(z.shape)}; this PGGAN takes (N, {self.geometry['z']})")
        return z

    def forward(self, z: Tensor) -> Tensor:
        flow = Flow(None, None, self.map(z))
        for stage in self.stages:
            flow = stage(flow)
        return cast(Tensor, flow.image)

    def _stage(self, part: Part, flow: Flow) -> Flow:
        x = rearrange(self.map(flow.ws), "n z -> n z 1 1") if flow.features is None else flow.features
        return flow.to(features=F.leaky_relu(part(x), SLOPE))

    def _image(self, flow: Flow) -> Flow:
        return flow.to(image=self.output(flow.features))


class Part(nn.Module):
    """Every place's features to unit moment, twice the resolution where it is `up`, a convolution, a bias."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, padding: int, up: bool = False, gain: float = math.sqrt(2)
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.convolution = Convolution(padding=padding)
        self.up, self.padding, self.scale = up, padding, gain / math.sqrt(inputs * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        x = unit_moment(x)
        key = F.interpolate(x, scale_factor=2, mode="nearest") if self.up else x
        return cast(Tensor, self.convolution(key, self.weight * self.scale)) + self.bias[:, None, None]


def generator(module: PGGAN, *, name: str = "", card: Mapping[str, Any] | None = None) -> Generator:
    """The generator of a PGGAN: its convolutions, by their names in GAN Dissection."""
    layers: dict[str, Layer] = {}
    before: list[str] = []
    resolution = 1
    for stage, (path, part) in enumerate(module.parts.items()):
        image = path == "output"
        after = 4 if stage == 0 else resolution << part.up
        key = (f"{path}.weight", 0), (f"{path}.bias", 0)
        layers[path] = Layer(
            name=path, module=part.convolution, weight=f"{path}.weight", bias=f"{path}.bias", kind="conv",
            shape=tuple(part.weight.shape), out_axis=0, in_axis=1, kernel_axes=(2, 3), padding=(part.padding,) * 2,
            in_resolution=(1 if stage == 0 else after,) * 2, out_resolution=(after,) * 2, scale=part.scale,
            follows=("bias",) if image else ("bias", "activation"), stage=stage, upstream=tuple(before),
            units=None if image else UnitForm(constant=key[:1], level=f"{path}.bias", scaled=key, slope=SLOPE),
        )  # fmt: skip
        before += [f"{path}.weight", f"{path}.bias"]
        resolution = after
    return Generator(
        module=module, layers=layers, z_dim=module.geometry["z"], resolution=resolution,
        architecture="pggan", name=name, card=card or {},
    )  # fmt: skip


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """genforce's names, by `layer0.weight` of a 4 x 4 kernel and `lod`.

    Its fused variant, which upsamples and convolves at once, keeps (in, out, 4...) kernels turned by half a turn.
    """
    shapes = network.shapes
    if len(shapes.get("layer0.weight", ())) != 4 or "lod" not in shapes or "layer0.style.weight" in shapes:
        return None
    if (lod := float(network.tensors["lod"].reshape(()))) != 0:
        raise RewriteError(f"this PGGAN was still growing when it was saved (lod {lod:g}); expected one that is done")
    count = counted(network, "layer{}.weight")
    channels = [shape_of(network, f"layer{2 * i + 1}.weight")[0] for i in range((count + 1) // 2)]
    last = f"output{len(channels) - 1}"
    fused = any(shape_of(network, f"layer{2 * i}.weight")[0] != width for i, width in enumerate(channels) if i)
    theirs = {f"layer{i + 1}": f"layer{i}" for i in range(count)} | {"output": last}
    keys: dict[str, Key] = {}
    for i, (ours, path) in enumerate(theirs.items()):
        turned = fused and i and not i % 2 and ours != "output"
        keys[f"{ours}.weight"] = _turned(f"{path}.weight") if turned else same(f"{path}.weight")
        keys[f"{ours}.bias"] = same(f"{path}.bias")
    unused = [name for name in shapes if re.fullmatch(r"output\d+\.(weight|bias)", name) and not name.startswith(last)]
    notes = ("Upsampling and convolution were one step in this file.",) if fused else ()
    return _layout(network, keys, channels, [*unused, "lod"], "layer0.weight, lod: genforce's PGGAN", notes)


def explain_dissection(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """GAN Dissection's names, by `layer1.wscale.b`, or `features.0.wscale.b` in its first version."""
    shapes = network.shapes
    first = "layer1" if "layer1.wscale.b" in shapes else "features.0" if "features.0.wscale.b" in shapes else None
    if first is None:
        return None
    stem, number = ("layer", 1) if first == "layer1" else ("features.", 0)
    count = counted(network, stem + "{}.conv.weight") - number
    outputs = [
        name.removesuffix(".conv.weight") for name in shapes if re.fullmatch(r"output(_\d+x\d+)?\.conv\.weight", name)
    ]
    if not outputs:
        shape_of(network, "output.conv.weight")
    theirs = {f"layer{i + 1}": f"{stem}{i + number}" for i in range(count)} | {"output": outputs[-1]}
    keys, constants = {}, []
    for ours, path in theirs.items():
        bias = shape_of(network, f"{path}.wscale.b")
        keys[f"{ours}.weight"] = same(f"{path}.conv.weight")
        keys[f"{ours}.bias"] = reshaped(f"{path}.wscale.b", (max(bias),), bias)
        if f"{path}.wscale.scale" in shapes:
            _check_scale(network, path, gain=1.0 if ours == "output" else math.sqrt(2))
            constants.append(f"{path}.wscale.scale")
    channels = [shape_of(network, f"{stem}{2 * i + 1 + number}.conv.weight")[0] for i in range((count + 1) // 2)]
    return _layout(network, keys, channels, constants, f"{first}.wscale.b: the ProGAN of GAN Dissection", ())


def _layout(
    network: Network, keys: Mapping[str, Key], channels: Sequence[int], constants: Sequence[str], why: str,
    notes: Sequence[str],
) -> Layout:  # fmt: skip
    for key in keys.values():
        shape_of(network, key.name)
    outputs, *_ = shape_of(network, keys["output.weight"].name)
    if outputs != 3:
        raise RewriteError(f"this PGGAN paints {outputs} channels; expected 3, red, green and blue")
    z = shape_of(network, keys["layer1.weight"].name)[1]
    return Layout("pggan", why, {"z": z, "channels": list(channels)}, keys, constants=constants, notes=notes)


def _turned(name: str) -> Key:
    """Kernels (in, out, k, k) of a transposed convolution as those of a convolution."""

    def turn(t: Tensor) -> Tensor:
        return t.transpose(0, 1).flip(2, 3).contiguous()

    return Key(name, turn, turn)


def _check_scale(network: Network, path: str, *, gain: float) -> None:
    expected = gain / math.sqrt(math.prod(shape_of(network, f"{path}.conv.weight")[1:]))
    found = float(network.tensors[f"{path}.wscale.scale"].float().mean())
    if not math.isclose(found, expected, rel_tol=1e-3):
        raise RewriteError(f"{path} scales its weights by {found:g}; expected {expected:g}, as its size makes it")
