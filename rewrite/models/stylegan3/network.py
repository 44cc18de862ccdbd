"""The network, with the parameter names of NVIDIA's code, so that its weights fit; StyleGAN-XL is of the same kind.

What differs from the original code, not from its function: modulation scales the features and demodulation the result.
Each filter of a weight is not brought to unit norm first, nor are the styles of a batch: demodulation divides both out,
so what is stored, observed and edited is the weight as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.generator import Flow
from rewrite.models.equalised import Convolution, FullyConnected, one_hot, unit_moment
from rewrite.models.mapping import MAPPING_RATE, MappingNetwork
from rewrite.models.stylegan2.network import demodulation
from rewrite.models.stylegan3.design import Spec, design
from rewrite.models.stylegan3.filters import downsample, upsample

SLOPE = 0.2
SCALE = 0.25
"""The image is so much smaller than what the last layer paints."""


class StyleGAN3(nn.Module):
    """z (N, `z`) to images (N, 3, R, R) of about -1 to 1, not clamped; ws are (N, rows, `w`).

    `input` and `layers` are those of a `design.Design`, the last layer that of the image. `clamp` bounds activations.
    With `classes`, a label (N,) of integers goes into the mapping, through a table of `embedding` numbers a class where
    that is not 0 (StyleGAN-XL, which also has a mean style for each class). In ws row 0 turns and shifts the input;
    row i + 1 goes to layer i.
    """

    def __init__(
        self, *, resolution: int, input: Mapping[str, Any], layers: Sequence[Mapping[str, Any]], z: int = 512,
        w: int = 512, depth: int = 2, classes: int = 0, embedding: int = 0, clamp: float | None = 256.0,
    ):  # fmt: skip
        super().__init__()
        specs, start = [Spec(**layer) for layer in layers], dict(input)
        _check(resolution, start, specs, z, w, depth, classes, embedding, clamp)
        self.geometry: dict[str, Any] = {
            "resolution": resolution, "input": start, "layers": [dict(layer) for layer in layers], "z": z, "w": w,
            "depth": depth, "classes": classes, "embedding": embedding, "clamp": clamp,
        }  # fmt: skip
        self.mapping = (
            ClassMapping(z, w, depth, classes, embedding) if embedding else MappingNetwork(z, w, depth, classes)
        )
        self.synthesis = nn.Module()
        self.synthesis.add_module("input", Waves(w, **start))
        before, size = start["channels"], start["size"]
        *hidden, image = specs
        for spec in hidden:
            self.synthesis.add_module(spec.name, Filtered(before, w, size, spec, clamp))
            before, size = spec.channels, spec.size
        self.synthesis.add_module(image.name, ToRGB(before, w, clamp))

    @classmethod
    def random(
        cls, seed: int, *, resolution: int, z: int = 512, w: int = 512, depth: int = 2, classes: int = 0,
        embedding: int = 0, **shape: Any,
    ) -> StyleGAN3:  # fmt: skip
        """An untrained network, for tests and benchmarks: one a seed. `shape` goes to `design`.

        In eval mode, without gradients.
        """
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            made = design(resolution, **shape)
            module = cls(
                resolution=resolution, input=made.input, layers=made.layers, z=z, w=w, depth=depth, classes=classes,
                embedding=embedding,
            )  # fmt: skip
            for path, part in module.parts.items():
                if isinstance(part, Filtered):
                    up, down = made.filters[path]
                    part.up_filter.copy_(up)
                    part.down_filter.copy_(down)
                part.bias.normal_(std=0.1)
                part.magnitude_ema.uniform_(0.5, 1.5)
            start = module.start
            start.affine.weight.normal_(std=0.1)
            # Frequencies of a disc of that bandwidth.
            direction = F.normalize(torch.randn_like(start.freqs), dim=1)
            start.freqs.copy_(direction * torch.rand(len(direction), 1) * start.bandwidth)
            start.phases.uniform_(-0.5, 0.5)
            if not classes:
                module.mapping.w_avg.copy_(module.map(torch.randn(4096, z))[:, 0].mean(0))
            elif embedding:
                module.mapping.w_avg.normal_()
        return module.eval().requires_grad_(False)

    @property
    def mean_style(self) -> Tensor:
        """(w,), or (classes, w)."""
        return self.mapping.w_avg

    @property
    def start(self) -> Waves:
        return cast(Waves, self.synthesis.input)

    @property
    def parts(self) -> dict[str, Filtered | ToRGB]:
        """The layers by name, in order."""
        return {spec["name"]: cast(Any, self.synthesis.get_submodule(spec["name"])) for spec in self.geometry["layers"]}

    @property
    def rows(self) -> int:
        return len(self.geometry["layers"]) + 1

    @property
    def stages(self) -> list[Callable[[Flow], Flow]]:
        """The input, then one a layer."""
        *hidden, image = self.parts.values()
        return [
            self._first,
            *(partial(self._stage, cast(Filtered, part), row) for row, part in enumerate(hidden, start=1)),
            partial(self._image, cast(ToRGB, image), self.rows - 1),
        ]

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents (N, z), and labels (N,) if there are classes, to ws (N, rows, w), an image's rows alike."""
        return cast(Tensor, self.mapping(z, label))[:, None].expand(-1, self.rows, -1)

    def truncate(self, ws: Tensor, truncation: float, label: Tensor | None) -> Tensor:
        """Towards the mean style, each image's towards that of its class where classes have their own."""
        mean = self.mean_style
        if mean.ndim == 2:
            assert label is not None
            mean = mean[label.to(mean.device).long()][..., None, :]
        return mean + truncation * (ws - mean)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        flow = Flow(None, None, self.map(z, label))
        for stage in self.stages:
            flow = stage(flow)
        return cast(Tensor, flow.image)

    def _first(self, flow: Flow) -> Flow:
        w = self.geometry["w"]
        if flow.ws.shape[1:] not in {(w,), (self.rows, w)}:
            raise RewriteError(
                f"styles have shape {tuple(flow.ws.shape)}; this StyleGAN3 takes (N, {w}) or (N, {self.rows}, {w})"
            )
        ws = flow.ws[:, None].expand(-1, self.rows, -1) if flow.ws.ndim == 2 else flow.ws
        return flow.to(features=self.start(ws[:, 0]), ws=ws)

    def _stage(self, part: Filtered, row: int, flow: Flow) -> Flow:
        return flow.to(features=part(flow.features, flow.ws[:, row]))

    def _image(self, part: ToRGB, row: int, flow: Flow) -> Flow:
        return flow.to(image=part(flow.features, flow.ws[:, row]) * SCALE)


class ClassMapping(nn.Module):
    """StyleGAN-XL's mapping: a table of classes, of which z's length is made, beside z. Sauer et al. 2022, section 3.1.

    z (N, z) and labels (N,) to w (N, w); there is a mean style for each class.
    """

    def __init__(self, z: int, w: int, depth: int, classes: int, embedding: int):
        super().__init__()
        self.z, self.depth, self.classes = z, depth, classes
        self.embed = nn.Embedding(classes, embedding)
        self.embed_proj = FullyConnected(embedding, z)
        for i in range(depth):
            self.add_module(f"fc{i}", FullyConnected(w if i else 2 * z, w, rate=MAPPING_RATE))
        self.w_avg: Tensor
        self.register_buffer("w_avg", torch.zeros(classes, w))

    def forward(self, z: Tensor, label: Tensor | None) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.z:
            raise RewriteError(f"latents have shape {tuple(z.shape)}; this network takes (N, {self.z})")
        embedded = one_hot(label, self.classes, z) @ self.embed.weight
        embedded = F.leaky_relu(self.embed_proj(embedded), SLOPE) * math.sqrt(2)
        x = torch.cat([unit_moment(z), unit_moment(embedded)], dim=1)
        for i in range(self.depth):
            x = F.leaky_relu(self.get_submodule(f"fc{i}")(x), SLOPE) * math.sqrt(2)
        return x


class Waves(nn.Module):
    """The input: sine waves, which a style turns and shifts, mixed (section 3.2, "Fourier features").

    w (N, w) to features (N, `channels`, `size`, `size`), sampled at `rate` cells an image.
    """

    def __init__(self, w: int, *, channels: int, size: int, rate: float, bandwidth: float):
        super().__init__()
        self.size, self.rate, self.bandwidth = size, rate, bandwidth
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = FullyConnected(w, 4)
        self.affine.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.transform: Tensor
        self.freqs: Tensor
        self.phases: Tensor
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", torch.zeros(channels, 2))
        self.register_buffer("phases", torch.zeros(channels))

    def forward(self, w: Tensor) -> Tensor:
        placed = self._motion(w) @ self.transform
        freqs = einsum(self.freqs, placed[:, :2, :2], "c i, n i j -> n c j")
        phases = self.phases + einsum(self.freqs, placed[:, :2, 2], "c i, n i -> n c")
        # Waves that a transform has made too fast for the grid fade out.
        room = self.rate / 2 - self.bandwidth
        heights = (1 - (freqs.norm(dim=2) - self.bandwidth) / room).clamp(0, 1)
        side = (torch.arange(self.size, device=w.device, dtype=w.dtype) + 0.5) / self.rate - self.size / self.rate / 2
        across, down = (einsum(freqs[..., i], side, "n c, s -> n c s") for i in (0, 1))
        turns = across[:, :, None, :] + down[..., None] + phases[..., None, None]
        waves = torch.sin(2 * math.pi * turns) * heights[..., None, None]
        return einsum(waves, self.weight / math.sqrt(len(self.weight)), "n i h w, o i -> n o h w")

    def _motion(self, w: Tensor) -> Tensor:
        """(N, 3, 3): a turn, after a shift."""
        t = self.affine(w)
        cos, sin, x, y = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1)
        shift = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1)
        first, second = (rearrange(m, "n (i j) -> n i j", i=3) for m in (turn, shift))
        return first @ second


class Modulated(nn.Module):
    """What all layers have: a style for each input channel, a weight, the magnitude of what came in while training."""

    def __init__(self, inputs: int, outputs: int, w: int, kernel: int, clamp: float | None):
        super().__init__()
        self.affine = FullyConnected(w, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.magnitude_ema: Tensor
        self.register_buffer("magnitude_ema", torch.ones(()))
        self.convolution = Convolution(padding=kernel - 1)
        self.clamp = clamp

    def value(self, x: Tensor, style: Tensor) -> Tensor:
        """The convolution of x (N, in, H, W), brought to unit magnitude, under a style (N, in)."""
        return cast(Tensor, self.convolution(x * (style * self.magnitude_ema.rsqrt())[:, :, None, None], self.weight))


class Filtered(Modulated):
    """A convolution, a bias, and an activation at a higher sampling rate, so that it brings in nothing that aliases."""

    def __init__(self, inputs: int, w: int, size: int, spec: Spec, clamp: float | None):
        super().__init__(inputs, spec.channels, w, spec.kernel, clamp)
        self.up, self.down, self.size = spec.up, spec.down, spec.size
        self.up_filter: Tensor
        self.down_filter: Tensor
        self.register_buffer("up_filter", torch.zeros(spec.up_taps))
        self.register_buffer("down_filter", torch.zeros(*[spec.down_taps] * (2 if spec.radial else 1)))
        # So many cells there must be before the last filter for `size` after it; what is lacking lies around them,
        # half a cell of the higher rate further to the front (appendix C.3).
        self.between = (spec.size - 1) * spec.down + spec.down_taps
        lacking = self.between - (size + spec.kernel - 1) * spec.up + spec.up_taps - 1
        self.before = (lacking + spec.up) // 2

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)
        x = self.value(x, style) * demodulation(style, self.weight)[:, :, None, None] + self.bias[:, None, None]
        x = upsample(x, self.up_filter, self.up, self.before, self.between)
        x = F.leaky_relu(x, SLOPE) * math.sqrt(2)
        x = x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
        return downsample(x, self.down_filter, self.down)


class ToRGB(Modulated):
    """Features to red, green and blue: a pointwise convolution with a style, not demodulated."""

    def __init__(self, inputs: int, w: int, clamp: float | None):
        super().__init__(inputs, 3, w, 1, clamp)
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.value(x, self.affine(w) * self.scale) + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


def _check(
    resolution: int, start: Mapping[str, Any], specs: Sequence[Spec], z: int, w: int, depth: int, classes: int,
    embedding: int, clamp: float | None,
) -> None:  # fmt: skip
    sizes = [resolution, z, w, depth, start.get("channels"), start.get("size"), start.get("rate")]
    for spec in specs:
        sizes += [spec.channels, spec.size, spec.kernel, spec.up, spec.down]
    if not all(type(n) is int and 1 <= n <= 8192 for n in sizes) or not 2 <= len(specs) <= 64 or depth > 64:
        raise RewriteError(f"no StyleGAN3 has resolution {resolution}, z {z}, w {w} and layers {specs[:1]}, ...")
    band = start.get("bandwidth")
    if not (isinstance(band, int | float) and 0 < band < start["rate"] / 2):
        raise RewriteError(f"no StyleGAN3 has an input of bandwidth {band} at a sampling rate of {start['rate']}")
    *hidden, image = specs
    if image.channels != 3 or image.kernel != 1 or not hidden[-1].size == image.size == resolution:
        raise RewriteError(
            f"the last layer paints {image.channels} channels of {image.size} px, resolution is {resolution}; expected "
            f"red, green and blue, from features of that resolution"
        )
    if any(not (type(taps) is int and 1 <= taps <= 1024) for spec in hidden for taps in (spec.up_taps, spec.down_taps)):
        raise RewriteError("a layer of this StyleGAN3 has no filters; expected 1 to 1024 taps up and down")
    known = type(classes) is int and type(embedding) is int
    if not known or not (0 <= classes <= 2**20 and 0 <= embedding <= 8192 and (classes or not embedding)):
        raise RewriteError(f"no StyleGAN3 has {classes} classes and an embedding of {embedding}")
    if not (clamp is None or clamp > 0):
        raise RewriteError(f"no StyleGAN3 clamps at {clamp}; expected a number above 0, or None")
