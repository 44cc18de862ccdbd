"""The network, with the parameter names of NVIDIA's PyTorch code, so that its weights fit.

Three things differ from the original code, not from its function: modulation scales the features and demodulation the
result, so that all images share one plain convolution; the low-pass filter is a constant, not a stored tensor; noise
has a strength for each channel, of which one number for all is a special case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, cast, get_args

import torch
from einops import einsum
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.generator import Flow, Noise
from rewrite.models.equalised import EPS, Convolution, FullyConnected
from rewrite.models.mapping import MappingNetwork

Architecture = Literal["skip", "resnet", "orig"]
"""How the image comes about: as a sum over all resolutions, behind residual blocks, or of the last features alone."""


def widths(resolution: int, *, base: int = 32768, most: int = 512) -> list[int]:
    """Channels at 4, 8, ... `resolution`: base / r, at most `most`. The usual base is 16384 below 512 px."""
    return [min(base >> power, most) for power in range(2, resolution.bit_length())]


class StyleGAN2(nn.Module):
    """z (N, `z`) to images (N, 3, R, R) of about -1 to 1, not clamped; ws are (N, rows, `w`).

    `channels` are the widths at 4, 8, ... `resolution`. `clamp` bounds activations, so that half precision
    does not overflow; None does not. With `classes`, a label (N,) of integers goes into the mapping (see there for
    `joint`).
    In ws the block at 4 px takes row 0 for its convolution, 1 for its image; block i takes 2i - 1 to 2i + 1.
    """

    def __init__(
        self, *, resolution: int, channels: Sequence[int], z: int = 512, w: int = 512, depth: int = 8,
        classes: int = 0, clamp: float | None = None, architecture: Architecture = "skip", joint: bool = False,
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
        if architecture not in get_args(Architecture) or type(joint) is not bool:
            raise RewriteError(
                f"no StyleGAN2 has architecture {architecture!r} and joint {joint!r}; expected "
                f"{', '.join(get_args(Architecture))}, and a truth value"
            )
        self.geometry: dict[str, Any] = {
            "resolution": resolution, "channels": list(channels), "z": z, "w": w, "depth": depth,
            "classes": classes, "clamp": clamp,
        }  # fmt: skip
        # Named only where they are not the usual: the checkpoints of before they were here keep their bytes.
        self.geometry |= {} if architecture == "skip" else {"architecture": architecture}
        self.geometry |= {"joint": True} if joint else {}
        self.mapping = MappingNetwork(z, w, depth, classes, joint=joint)
        self.synthesis = nn.ModuleDict(
            {
                f"b{4 << i}": Block(
                    channels[i - 1] if i else 0, after, w, 4 << i, clamp,
                    image=architecture == "skip" or i == len(channels) - 1, residual=architecture == "resnet",
                )
                for i, after in enumerate(channels)
            }
        )  # fmt: skip

    @classmethod
    def random(cls, seed: int, *, noise: float = 0.0, **geometry: Any) -> StyleGAN2:
        """An untrained network, for tests and benchmarks: one a seed, its images of some contrast.

        `noise` is the strength of every noise input. In eval mode, without gradients.
        """
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            module = cls(**geometry)
            paint = [block for block in module.blocks if "torgb" in block.parts]
            for block in module.blocks:
                if block in paint:
                    # A sum of images of unit variance would mostly lie beyond -1 to 1.
                    block.torgb.weight.mul_(0.5 / math.sqrt(len(paint)))
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
        """One a layer, for each block its one or two convolutions, then its image; one for a whole residual block."""
        run: list[Callable[[Flow], Flow]] = []
        for i, block in enumerate(self.blocks):
            if i and block.residual:
                run += [partial(block.both, 2 * i - 1)]
            else:
                run += [partial(block.up, 2 * i - 1)] if i else []
                run += [partial(block.same, 2 * i) if i else self._first]
            run += [partial(block.image, 2 * i + 1)] if "torgb" in block.parts else []
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


class Modulated(nn.Module):
    """A convolution with a style for each input channel; noise, bias, activation (equations 1 to 3).

    `gain` is a factor behind the activation, and behind its clamp.
    """

    def __init__(
        self, inputs: int, outputs: int, w: int, resolution: int, clamp: float | None, *, up: bool, gain: float = 1.0
    ):
        super().__init__()
        self.affine = FullyConnected(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(outputs))
        self.noise_const: Tensor
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.convolution = Convolution(up=up)
        self.gain, self.clamp = math.sqrt(2) * gain, None if clamp is None else clamp * gain

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        style = self.affine(w)
        value = self.convolution(x * style[:, :, None, None], self.weight)
        # The activation is linear but for the sign, so that its gain may as well come before it, on fewer numbers.
        gains = demodulation(style, self.weight) * self.gain
        x = value * gains.to(value.dtype)[:, :, None, None]
        if self.convolution.up:
            x = smooth(x)
        # Only the fresh product is changed in place: whoever observes the convolution keeps its value.
        x.add_((self.bias * self.gain).to(x.dtype)[:, None, None])
        if noise == "const" and self.noise_strength.any():
            x.add_((self.noise_const * (self.noise_strength * self.gain)[:, None, None]).to(x.dtype))
        x = F.leaky_relu_(x, 0.2)
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


class Skip(nn.Module):
    """What goes around a residual block: a pointwise convolution, then twice the resolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.convolution = Convolution()
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return double(self.convolution(x, self.weight * self.scale))


class Block(nn.Module):
    """One resolution: the constant or an upsampling convolution, a convolution, a share of the image."""

    def __init__(
        self, before: int, after: int, w: int, resolution: int, clamp: float | None, *,
        image: bool = True, residual: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.residual = residual
        if before:
            self.conv0 = Modulated(before, after, w, resolution, clamp, up=True)
        else:
            self.const = nn.Parameter(torch.randn(after, resolution, resolution))
        halved = math.sqrt(0.5) if before and residual else 1.0
        self.conv1 = Modulated(after, after, w, resolution, clamp, up=False, gain=halved)
        if image:
            self.torgb = ToRGB(after, w, clamp)
        if before and residual:
            self.skip = Skip(before, after)

    @property
    def parts(self) -> list[str]:
        """Names of what it has of a way around, convolutions and image, in the order they run."""
        return [name for name in ("skip", "conv0", "conv1", "torgb") if name in self._modules]

    @property
    def convolutions(self) -> list[Modulated]:
        return [layer for layer in self.children() if isinstance(layer, Modulated)]

    def up(self, row: int, flow: Flow) -> Flow:
        return flow.to(features=self.conv0(flow.features, flow.ws[:, row], flow.noise))

    def same(self, row: int, flow: Flow) -> Flow:
        x = flow.features
        if x is None:
            # All that comes later keeps this memory layout; on a CPU the low-pass is twice as fast in it.
            x = self.const[None].contiguous(memory_format=torch.channels_last)
        return flow.to(features=self.conv1(x, flow.ws[:, row], flow.noise))

    def both(self, row: int, flow: Flow) -> Flow:
        around = self.skip(flow.features) * math.sqrt(0.5)
        after = self.same(row + 1, self.up(row, flow))
        return after.to(features=cast(Tensor, after.features) + around)

    def image(self, row: int, flow: Flow) -> Flow:
        share = self.torgb(flow.features, flow.ws[:, row])
        return flow.to(image=share if flow.image is None else double(flow.image) + share)


def demodulation(style: Tensor, weight: Tensor) -> Tensor:
    """Gains (N, out) that give every output channel unit variance, if the features have it (equation 3)."""
    # In single precision even under autocast: the squares may overflow half precision.
    with torch.autocast(style.device.type, enabled=False):
        energy = einsum(weight.float(), weight.float(), "o i h w, o i h w -> o i")
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
    return torch.outer(taps, taps).expand(like.shape[1], 1, 4, 4)
