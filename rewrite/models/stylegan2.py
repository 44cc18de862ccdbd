"""StyleGAN2, with the parameter names of NVIDIA's PyTorch code, so that its weights fit.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" and "Training Generative
Adversarial Networks with Limited Data". Three things differ from the original code, not from its function:
modulation scales the features and demodulation the result, so that all images share one plain convolution;
the low-pass filter is a constant, not a stored tensor; noise has a strength for each channel, of which one
number for all is a special case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from einops import einsum
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.generator import MAPPING, NO_PLACES, Flow, Gain, Generator, Layer, Noise

EPS = 1e-8
MAPPING_RATE = 0.01
"""Learning-rate multiplier of the mapping network: its stored weights are this much larger than they act."""


def widths(resolution: int, *, base: int = 32768, most: int = 512) -> list[int]:
    """Channels at 4, 8, ... `resolution`: base / r, at most `most`. The usual base is 16384 below 512 px."""
    return [min(base >> power, most) for power in range(2, resolution.bit_length())]


class StyleGAN2(nn.Module):
    """z (N, `z`) to images (N, 3, R, R) of about -1 to 1, not clamped; ws are (N, rows, `w`).

    `channels` are the widths at 4, 8, ... `resolution`. `clamp` bounds activations, so that half precision
    does not overflow; None does not. With `classes`, a label (N,) of integers goes into the mapping.
    In ws the block at 4 px takes row 0 for its convolution, 1 for its image; block i takes 2i - 1 to 2i + 1.
    """

    def __init__(
        self, *, resolution: int, channels: Sequence[int], z: int = 512, w: int = 512, depth: int = 8,
        classes: int = 0, clamp: float | None = None,
    ):  # fmt: skip
        super().__init__()
        if not all(type(n) is int and 1 <= n <= 8192 for n in (resolution, z, w, *channels)) or len(channels) > 10:
            raise RewriteError(f"no StyleGAN2 has resolution {resolution}, z {z}, w {w} and channels {list(channels)}")
        if resolution != 2 << len(channels) or not (type(depth) is int and 1 <= depth <= 64):
            raise RewriteError(
                f"{len(channels)} widths lead to {2 << len(channels)} px, resolution is {resolution}, depth "
                f"{depth}; give a width for each of 4, 8, ... {resolution} px, and a depth of 1 to 64"
            )
        if not (type(classes) is int and 0 <= classes <= 2**20) or not (clamp is None or clamp > 0):
            raise RewriteError(
                f"no StyleGAN2 has {classes} classes and clamp {clamp}; expected 0 or more, above 0 or None"
            )
        self.geometry: dict[str, Any] = {
            "resolution": resolution, "channels": list(channels), "z": z, "w": w, "depth": depth,
            "classes": classes, "clamp": clamp,
        }  # fmt: skip
        self.mapping = MappingNetwork(z, w, depth, classes)
        self.synthesis = nn.ModuleDict(
            {
                f"b{4 << i}": Block(channels[i - 1] if i else 0, after, w, 4 << i, clamp)
                for i, after in enumerate(channels)
            }
        )

    @classmethod
    def random(cls, seed: int, *, noise: float = 0.0, **geometry: Any) -> StyleGAN2:
        """An untrained network, for tests and benchmarks: one a seed, its images of some contrast.

        `noise` is the strength of every noise input. In eval mode, without gradients.
        """
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            module = cls(**geometry)
            for block in module.blocks:
                # A sum of images of unit variance would mostly lie beyond -1 to 1.
                block.torgb.weight.mul_(0.5 / math.sqrt(len(module.blocks)))
                for layer in block.convolutions:
                    layer.noise_strength.fill_(noise)
            if not module.mapping.classes:
                module.mapping.w_avg.copy_(module.map(torch.randn(4096, module.mapping.z))[:, 0].mean(0))
        return module.eval().requires_grad_(False)

    @property
    def mean_style(self) -> Tensor:
        return self.mapping.w_avg

    @property
    def blocks(self) -> list[Block]:
        return [cast(Block, block) for block in self.synthesis.values()]

    @property
    def rows(self) -> int:
        return 2 * len(self.synthesis)

    @property
    def stages(self) -> list[Callable[[Flow], Flow]]:
        """One a layer: for each block its one or two convolutions, then its image."""
        run: list[Callable[[Flow], Flow]] = []
        for i, block in enumerate(self.blocks):
            run += [partial(block.up, 2 * i - 1)] if i else []
            run += [partial(block.same, 2 * i) if i else self._first, partial(block.image, 2 * i + 1)]
        return run

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents (N, z), and labels (N,) if there are classes, to ws (N, rows, w), an image's rows alike."""
        w = self.mapping(z, label)
        return cast(Tensor, w)[:, None].expand(-1, self.rows, -1)

    def forward(self, z: Tensor, label: Tensor | None = None, noise: Noise = "const") -> Tensor:
        flow = Flow(None, None, self.map(z, label), noise)
        for stage in self.stages:
            flow = stage(flow)
        return cast(Tensor, flow.image)

    def _first(self, flow: Flow) -> Flow:
        w = self.geometry["w"]
        if flow.ws.shape[1:] not in {(w,), (self.rows, w)}:
            raise RewriteError(
                f"styles have shape {tuple(flow.ws.shape)}; this StyleGAN2 takes (N, {w}) or (N, {self.rows}, {w})"
            )
        ws = flow.ws[:, None].expand(-1, self.rows, -1) if flow.ws.ndim == 2 else flow.ws
        return self.blocks[0].same(0, flow.to(ws=ws))


class Product(nn.Module):
    """key (N, in) and weight (out, in) to value (N, out). Bare, so that a hook sees the key."""

    def forward(self, key: Tensor, weight: Tensor) -> Tensor:
        return F.linear(key, weight)


class Convolution(nn.Module):
    """key (N, in, H, W) and stored weight (out, in, k, k) to value. Bare, so that a hook sees the key.

    With `up` it is a transposed convolution of stride 2 without padding: H to 2H + 1.
    """

    def __init__(self, *, up: bool = False):
        super().__init__()
        self.up = up

    def forward(self, key: Tensor, weight: Tensor) -> Tensor:
        if self.up:
            return F.conv_transpose2d(key, weight.transpose(0, 1), stride=2)
        return F.conv2d(key, weight, padding=weight.shape[-1] // 2)


class FullyConnected(nn.Module):
    """A dense layer with equalised learning rate: the weight acts times rate / sqrt(in), the bias times rate.

    Karras et al. 2018, "Progressive Growing of GANs", section 4.1.
    """

    def __init__(self, inputs: int, outputs: int, *, rate: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.product = Product()
        self.rate, self.scale = rate, rate / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.product(x, self.weight * self.scale)) + self.bias * self.rate


class MappingNetwork(nn.Module):
    """z (N, z), and labels (N,) where there are classes, to w (N, w)."""

    def __init__(self, z: int, w: int, depth: int, classes: int):
        super().__init__()
        self.z, self.depth, self.classes = z, depth, classes
        if classes:
            self.embed = FullyConnected(classes, w)
        inputs = z + w if classes else z
        for i in range(depth):
            self.add_module(f"fc{i}", FullyConnected(w if i else inputs, w, rate=MAPPING_RATE))
        self.w_avg: Tensor
        self.register_buffer("w_avg", torch.zeros(w))

    def forward(self, z: Tensor, label: Tensor | None) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.z:
            raise RewriteError(f"latents have shape {tuple(z.shape)}; this StyleGAN2 takes (N, {self.z})")
        x = unit_moment(z)
        if self.classes:
            x = torch.cat([x, unit_moment(self.embed(self._one_hot(label, z)))], dim=1)
        for i in range(self.depth):
            x = F.leaky_relu(self.get_submodule(f"fc{i}")(x), 0.2) * math.sqrt(2)
        return x

    def _one_hot(self, label: Tensor | None, z: Tensor) -> Tensor:
        if label is None or label.is_floating_point() or not ((label >= 0) & (label < self.classes)).all():
            raise RewriteError(
                f"the label is {label}; expected whole numbers from 0 to {self.classes - 1}, one an image"
            )
        return F.one_hot(label.to(z.device).long().expand(len(z)), self.classes).to(z.dtype)


class Modulated(nn.Module):
    """A convolution with a style for each input channel; noise, bias, activation (equations 1 to 3)."""

    def __init__(self, inputs: int, outputs: int, w: int, resolution: int, clamp: float | None, *, up: bool):
        super().__init__()
        self.affine = FullyConnected(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(outputs))
        self.noise_const: Tensor
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.convolution = Convolution(up=up)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        style = self.affine(w)
        value = self.convolution(x * style[:, :, None, None], self.weight)
        x = value * demodulation(style, self.weight).to(value.dtype)[:, :, None, None]
        if self.convolution.up:
            x = smooth(x)
        offset = self.bias[:, None, None]
        if noise == "const":
            offset = offset + self.noise_const * self.noise_strength[:, None, None]
        x = F.leaky_relu(x + offset.to(x.dtype), 0.2) * math.sqrt(2)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ToRGB(nn.Module):
    """Features to red, green and blue: a pointwise convolution with a style, not demodulated."""

    def __init__(self, inputs: int, w: int, clamp: float | None):
        super().__init__()
        self.affine = FullyConnected(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.convolution = Convolution()
        self.clamp, self.scale = clamp, 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        key = x * (self.affine(w) * self.scale)[:, :, None, None]
        x = self.convolution(key, self.weight) + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class Block(nn.Module):
    """One resolution: the constant or an upsampling convolution, a convolution, a share of the image."""

    def __init__(self, before: int, after: int, w: int, resolution: int, clamp: float | None):
        super().__init__()
        if before:
            self.conv0 = Modulated(before, after, w, resolution, clamp, up=True)
        else:
            self.const = nn.Parameter(torch.randn(after, resolution, resolution))
        self.conv1 = Modulated(after, after, w, resolution, clamp, up=False)
        self.torgb = ToRGB(after, w, clamp)

    @property
    def convolutions(self) -> list[Modulated]:
        return [layer for layer in self.children() if isinstance(layer, Modulated)]

    def up(self, row: int, flow: Flow) -> Flow:
        return flow.to(features=self.conv0(flow.features, flow.ws[:, row], flow.noise))

    def same(self, row: int, flow: Flow) -> Flow:
        x = self.const[None] if flow.features is None else flow.features
        return flow.to(features=self.conv1(x, flow.ws[:, row], flow.noise))

    def image(self, row: int, flow: Flow) -> Flow:
        share = self.torgb(flow.features, flow.ws[:, row])
        return flow.to(image=share if flow.image is None else double(flow.image) + share)


def unit_moment(x: Tensor) -> Tensor:
    """x (N, C) over the root of its mean square."""
    return x * (x.square().mean(1, keepdim=True) + EPS).rsqrt()


def demodulation(style: Tensor, weight: Tensor) -> Tensor:
    """Gains (N, out) that give every output channel unit variance, if the features have it (equation 3)."""
    # In single precision even under autocast: the squares may overflow half precision.
    with torch.autocast(style.device.type, enabled=False):
        energy = weight.float().square().sum((2, 3))
        return (einsum(style.float().square(), energy, "n i, o i -> n o") + EPS).rsqrt()


def smooth(x: Tensor) -> Tensor:
    """Low-pass times 4 after a transposed convolution: (N, C, 2H + 1, 2W + 1) to (N, C, 2H, 2W)."""
    return F.conv2d(x, low_pass(x), padding=1, groups=x.shape[1])


def double(image: Tensor) -> Tensor:
    """An image (N, C, H, W) at twice the resolution: zeros between pixels, then the low-pass times 4."""
    return F.conv_transpose2d(image, low_pass(image), stride=2, padding=1, groups=image.shape[1])


def low_pass(like: Tensor) -> Tensor:
    """The filter [1, 3, 3, 1] in both directions, of sum 4, for each channel of `like`: (C, 1, 4, 4)."""
    taps = like.new_tensor([1.0, 3.0, 3.0, 1.0]) / 4
    return einsum(taps, taps, "h, w -> h w").expand(like.shape[1], 1, 4, 4)


def generator(module: StyleGAN2, *, name: str = "", card: Mapping[str, Any] | None = None) -> Generator:
    """The generator of a StyleGAN2: mapping, modulated convolutions, image layers, by their paths."""
    stored = list(module.state_dict())
    upstream = [key for key in stored if key.startswith("mapping.")]
    layers: dict[str, Layer] = {}
    for i in range(module.mapping.depth):
        path = f"mapping.fc{i}"
        dense = cast(FullyConnected, module.get_submodule(path))
        before = [key for key in upstream if key.startswith(("mapping.embed.", *(f"mapping.fc{j}." for j in range(i))))]
        layers[path] = Layer(
            name=path, module=dense.product, weight=f"{path}.weight", bias=f"{path}.bias", kind="linear",
            shape=tuple(dense.weight.shape), out_axis=0, in_axis=1, scale=dense.scale,
            follows=("bias", "activation"), stage=MAPPING, refuses=NO_PLACES, upstream=tuple(before),
        )  # fmt: skip
    stage = 0
    for key in stored:
        resolution = _resolution(key)
        if key.endswith(".const"):
            upstream.append(key)
        if not key.endswith((".conv0.weight", ".conv1.weight", ".torgb.weight")):
            continue
        path = key.removesuffix(".weight")
        part = cast(Modulated | ToRGB, module.get_submodule(path))
        up, image = part.convolution.up, isinstance(part, ToRGB)
        affine = [f"{path}.affine.weight", f"{path}.affine.bias"]
        layers[path] = Layer(
            name=path, module=part.convolution, weight=key, bias=f"{path}.bias",
            kind="modulated transposed conv" if up else "modulated conv",
            shape=tuple(part.weight.shape), out_axis=0, in_axis=1, kernel_axes=(2, 3),
            stride=(2, 2) if up else (1, 1), padding=(0, 0) if up or image else (1, 1),
            in_resolution=(resolution >> up,) * 2, out_resolution=(resolution + up,) * 2,
            gain=None if image else Gain(part.affine, EPS),
            follows=("bias",) if image else ("gain", *["blur"] * up, "noise", "bias", "activation"),
            stage=stage, upstream=(*upstream, *affine),
        )  # fmt: skip
        stage += 1
        upstream += [] if image else [inside for inside in stored if inside.startswith(f"{path}.")]
    return Generator(
        module=module, layers=layers, z_dim=module.mapping.z, resolution=module.geometry["resolution"],
        classes=module.mapping.classes, architecture="stylegan2", name=name, card=card or {},
    )  # fmt: skip


def _resolution(key: str) -> int:
    """8 of "synthesis.b8.conv0.weight"; 0 outside the synthesis network."""
    parts = key.split(".")
    return int(parts[1][1:]) if parts[0] == "synthesis" else 0
