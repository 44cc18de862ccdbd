"""StyleGAN of 2018: styles by instance normalisation, convolutions that are plain.

Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks". Layers are numbered as
in genforce's code, from the constant; only the image layer of the full resolution is kept, since growing is over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from einops import einsum
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Network
from rewrite.errors import RewriteError
from rewrite.generator import Flow, Generator, Layer, Noise, UnitForm
from rewrite.models.equalised import EPS, Convolution
from rewrite.models.layout import Key, Layout, check_constant, counted, fitting, flipped, same, shape_of
from rewrite.models.mapping import MappingNetwork, mapping_layers
from rewrite.unfilled import stored_shapes

SLOPE = 0.2
BLUR = torch.tensor([1.0, 2.0, 1.0]) / 4
FUSED_FROM = 128
"""Resolution from which the original upsamples and convolves at once, and stores kernels turned by half a turn."""


class StyleGAN(nn.Module):
    """z (N, `z`) to images (N, 3, R, R) of about -1 to 1, not clamped, R = 2 * 2 ** len(channels).

    `channels` are the widths at 4, 8, ... R. ws are (N, rows, `w`): row i goes to layer i, of which each resolution has
    two; the first of all is a constant.
    """

    def __init__(self, *, channels: Sequence[int], z: int = 512, w: int = 512, depth: int = 8):
        super().__init__()
        if not all(type(n) is int and 1 <= n <= 8192 for n in (z, w, *channels)) or not 1 <= len(channels) <= 10:
            raise RewriteError(f"no StyleGAN has z {z}, w {w} and channels {list(channels)}")
        if not (type(depth) is int and 1 <= depth <= 64):
            raise RewriteError(f"no StyleGAN has a mapping of depth {depth}; expected 1 to 64")
        self.geometry: dict[str, Any] = {"channels": list(channels), "z": z, "w": w, "depth": depth}
        self.mapping = MappingNetwork(z, w, depth, 0, gain=1.0, weight_gain=math.sqrt(2))
        self.synthesis = nn.ModuleDict()
        before = 0
        for i in range(2 * len(channels)):
            width = channels[i // 2]
            self.synthesis[f"layer{i}"] = Styled(before, width, w, 4 << i // 2, up=i > 0 and i % 2 == 0)
            before = width
        self.synthesis["output"] = Image(before)

    @classmethod
    def random(cls, seed: int, *, noise: float = 0.0, **geometry: Any) -> StyleGAN:
        """An untrained network, for tests: one a seed. In eval mode, without gradients."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            module = cls(**geometry)
            for part in module.parts:
                part.noise_strength.fill_(noise)
                part.bias.normal_(std=0.1)
            module.image.weight.mul_(0.2)
            module.mapping.w_avg.copy_(module.map(torch.randn(4096, module.mapping.z))[:, 0].mean(0))
        return module.eval().requires_grad_(False)

    @property
    def mean_style(self) -> Tensor:
        return self.mapping.w_avg

    @property
    def parts(self) -> list[Styled]:
        return [part for part in self.synthesis.values() if isinstance(part, Styled)]

    @property
    def image(self) -> Image:
        return cast(Image, self.synthesis["output"])

    @property
    def rows(self) -> int:
        return len(self.parts)

    @property
    def stages(self) -> list[Callable[[Flow], Flow]]:
        """One a layer; the first makes the constant."""
        return [self._first, *(partial(self._stage, i) for i in range(1, self.rows)), self._last]

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents (N, z) to ws (N, rows, w), an image's rows alike."""
        return cast(Tensor, self.mapping(z, label))[:, None].expand(-1, self.rows, -1)

    def forward(self, z: Tensor, noise: Noise = "const") -> Tensor:
        flow = Flow(None, None, self.map(z), noise)
        for stage in self.stages:
            flow = stage(flow)
        return cast(Tensor, flow.image)

    def _first(self, flow: Flow) -> Flow:
        w = self.geometry["w"]
        if flow.ws.shape[1:] not in {(w,), (self.rows, w)}:
            raise RewriteError(
                f"styles have shape {tuple(flow.ws.shape)}; this StyleGAN takes (N, {w}) or (N, {self.rows}, {w})"
            )
        ws = flow.ws[:, None].expand(-1, self.rows, -1) if flow.ws.ndim == 2 else flow.ws
        return self._stage(0, flow.to(ws=ws))

    def _stage(self, i: int, flow: Flow) -> Flow:
        return flow.to(features=self.parts[i](flow.features, flow.ws[:, i], flow.noise))

    def _last(self, flow: Flow) -> Flow:
        return flow.to(image=self.image(flow.features))


class Style(nn.Module):
    """w (N, w) to a factor and an offset for each channel, (N, 2, C). The factor's 1 is part of the bias."""

    def __init__(self, w: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, channels, w))
        self.bias = nn.Parameter(torch.tensor([[1.0] * channels, [0.0] * channels]))
        self.scale = 1 / math.sqrt(w)

    def forward(self, w: Tensor) -> Tensor:
        return einsum(w, self.weight * self.scale, "n w, s c w -> n s c") + self.bias


class Styled(nn.Module):
    """A convolution, or the constant; blur where it upsamples; noise, bias, activation, instance norm, style."""

    def __init__(self, inputs: int, outputs: int, w: int, resolution: int, *, up: bool):
        super().__init__()
        if inputs:
            self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
            self.convolution = Convolution()
        else:
            self.const = nn.Parameter(torch.ones(outputs, resolution, resolution))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(outputs))
        self.noise_const: Tensor
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.style = Style(w, outputs)
        self.up, self.scale = up, math.sqrt(2 / (9 * max(inputs, 1)))

    def forward(self, x: Tensor | None, w: Tensor, noise: Noise) -> Tensor:
        if x is None:
            x = self.const.expand(len(w), -1, -1, -1)
        else:
            key = F.interpolate(x, scale_factor=2, mode="nearest") if self.up else x
            x = cast(Tensor, self.convolution(key, self.weight * self.scale))
            x = blur(x) if self.up else x
        offset = self.bias[:, None, None]
        if noise == "const":
            offset = offset + self.noise_const * self.noise_strength[:, None, None]
        x = F.leaky_relu(x + offset, SLOPE)
        factor, shift = self.style(w)[..., None, None].unbind(1)
        return normalised(x) * factor + shift


class Image(nn.Module):
    """Features to red, green and blue."""

    def __init__(self, inputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.convolution = Convolution()
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.convolution(x, self.weight * self.scale)) + self.bias[:, None, None]


def normalised(x: Tensor) -> Tensor:
    """Each map of x (N, C, H, W) at mean 0 and mean square 1."""
    x = x - x.mean((2, 3), keepdim=True)
    return x * (x.square().mean((2, 3), keepdim=True) + EPS).rsqrt()


def blur(x: Tensor) -> Tensor:
    """x (N, C, H, W) under [1, 2, 1] in both directions, of sum 1."""
    taps = einsum(BLUR, BLUR, "h, w -> h w").to(x).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, taps, padding=1, groups=x.shape[1])


def generator(module: StyleGAN, *, name: str = "", card: Mapping[str, Any] | None = None) -> Generator:
    """The generator of a StyleGAN: mapping, convolutions, image layer."""
    stored = list(module.state_dict())
    layers = mapping_layers(module.mapping, module.mapping.depth)
    upstream = [key for key in stored if key.startswith(("mapping.", "synthesis.layer0."))]
    for i, (own, part) in enumerate(module.synthesis.items()):
        path, part = f"synthesis.{own}", cast(Styled | Image, part)
        follows: tuple[str, ...] = ("bias",)
        units: UnitForm | None = None
        resolution = 2 << i // 2
        if isinstance(part, Styled):
            resolution = 4 << i // 2
            follows = (*["blur"] * part.up, "noise", "bias", "activation", "norm")
            # Behind instance norm a unit is its style: without one it is 0, and it grows as its style does.
            style = (f"{path}.style.weight", 1), (f"{path}.style.bias", 1)
            units = UnitForm(constant=style, level=None, scaled=style)
        if i == 0:
            continue  # The constant is no convolution.
        layers[path] = Layer(
            name=path, module=part.convolution, weight=f"{path}.weight", bias=f"{path}.bias", kind="conv",
            shape=tuple(part.weight.shape), out_axis=0, in_axis=1, kernel_axes=(2, 3),
            padding=(part.weight.shape[-1] // 2,) * 2, in_resolution=(resolution,) * 2,
            out_resolution=(resolution,) * 2, scale=part.scale, follows=follows, stage=i, upstream=tuple(upstream),
            units=units,
        )  # fmt: skip
        upstream += [key for key in stored if key.startswith(f"{path}.")]
    return Generator(
        module=module, layers=layers, z_dim=module.mapping.z, resolution=2 << len(module.geometry["channels"]),
        architecture="stylegan", name=name, card=card or {},
    )  # fmt: skip


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """genforce's names, by `synthesis.layer0.const` and `synthesis.layer0.apply_noise.weight`."""
    shapes = network.shapes
    if not {"synthesis.layer0.const", "synthesis.layer0.apply_noise.weight"} <= set(shapes):
        return None
    if "synthesis.lod" in shapes and (lod := float(network.tensors["synthesis.lod"].reshape(()))) != 0:
        raise RewriteError(
            f"this StyleGAN was still growing when it was saved (lod {lod:g}); expected one that is done"
        )
    if "mapping.label_weight" in shapes:
        raise RewriteError("this StyleGAN takes labels, which this family has no place for; expected one without")
    count = counted(network, "synthesis.layer{}.style.weight")
    blocks = (count + 1) // 2
    last = f"synthesis.output{blocks - 1}"
    blurs = [name for name in shapes if name.endswith(".blur.kernel")]
    for name in blurs:
        _check_blur(network, name)
    w = shape_of(network, "synthesis.layer0.style.weight")[1]
    geometry: dict[str, Any] = {
        "channels": [shape_of(network, f"synthesis.layer{2 * i}.bias")[0] for i in range(blocks)],
        "z": shape_of(network, "mapping.dense0.weight")[1], "w": w, "depth": counted(network, "mapping.dense{}.weight"),
    }  # fmt: skip
    if (colours := shape_of(network, f"{last}.weight")[0]) != 3:
        raise RewriteError(f"this StyleGAN paints {colours} channels; expected 3, red, green and blue")
    expected = stored_shapes(StyleGAN, geometry)
    keys = {ours: _key(network, ours, shape, last) for ours, shape in expected.items()}
    turned = [name for name, key in keys.items() if _is_fused(name)]
    unused = [name for name in shapes if re.match(r"synthesis\.output\d+\.", name) and not name.startswith(last)]
    notes = [f"From {FUSED_FROM} px its kernels are taken to be those of fused upsampling, as the original has them."]
    return Layout(
        "stylegan", "synthesis.layer0.apply_noise.weight: genforce's StyleGAN", geometry, keys,
        constants=[*unused, *blurs, "synthesis.lod"], notes=notes if turned else (),
    )  # fmt: skip


def _key(network: Network, ours: str, shape: tuple[int, ...], last: str) -> Key:
    parts = ours.split(".")
    theirs = ours
    if parts[0] == "mapping":
        theirs = "truncation.w_avg" if parts[1] == "w_avg" else f"mapping.dense{parts[1][2:]}.{parts[2]}"
    elif parts[1] == "output":
        theirs = f"{last}.{parts[2]}"
    elif parts[2].startswith("noise_"):
        theirs = f"synthesis.{parts[1]}.apply_noise.{'weight' if parts[2] == 'noise_strength' else 'noise'}"
    found = shape_of(network, theirs)
    if ours == "mapping.w_avg" and len(found) != 1:
        raise RewriteError("this network maps a latent to a style for each layer; expected one style for all")
    if parts[-2:] == ["style", "weight"]:
        return Key(theirs, lambda t: t.reshape(shape), lambda t: t.reshape(found))
    if parts[-2:] == ["style", "bias"]:
        one = torch.tensor([[1.0], [0.0]])
        return Key(theirs, lambda t: t.reshape(shape) + one, lambda t: (t - one).reshape(found))
    if _is_fused(ours):
        return flipped(theirs)
    return same(theirs) if found == shape else fitting(theirs, shape, found)


def _is_fused(name: str) -> bool:
    found = re.fullmatch(r"synthesis\.layer(\d+)\.weight", name)
    return found is not None and (i := int(found[1])) > 0 and i % 2 == 0 and 4 << i // 2 >= FUSED_FROM


def _check_blur(network: Network, name: str) -> None:
    kernel = network.tensors[name].float()
    check_constant(Network({name: kernel[0]}), name, einsum(BLUR, BLUR, "h, w -> h w"))
