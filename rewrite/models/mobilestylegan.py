"""MobileStyleGAN: StyleGAN2 distilled into separable convolutions and Haar wavelets.

Belousov 2021, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity Image Synthesis".
Every block predicts wavelet coefficients at half its resolution; an inverse Haar transform doubles it.
Convolutions are depthwise 3 x 3, then pointwise. Demodulation is constant and lies folded in the pointwise
weights, so a pointwise convolution is plain linear: its key is the depthwise output, and no gain follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.channels_last import channels_last
from rewrite.checkpoints.openvino import Graph, Node
from rewrite.errors import RewriteError
from rewrite.generator import MAPPING, NO_PLACES, Flow, Generator, Layer, Noise, UnitForm
from rewrite.progress import Progress, quiet

SLOPE = 0.2
BASE = 4
"""Resolution of the constant input."""

MEAN_DRAWS = 100_000


class MobileStyleGAN(nn.Module):
    """z or w (N, `style`) to images (N, 3, R, R), R = 4 * 2 ** len(channels), of about -1 to 1, not clamped.

    `channels[0]` is the width of the constant and of the first convolution; each further number is a block.
    In ws (N, rows, style), row 0 goes to the first convolution; block i takes 3i + 1 for upsampling and its
    first convolution, 3i + 2 for its second, and 3i + 3 for its image, which only the last block has.
    """

    def __init__(self, *, style: int = 512, depth: int = 8, channels: Sequence[int] = (512,) * 5 + (256, 128, 64)):
        super().__init__()
        sizes = [style, depth, *channels]
        if not all(type(n) is int and 1 <= n <= 4096 for n in sizes) or not 2 <= len(channels) <= 12 or depth > 64:
            raise RewriteError(f"no MobileStyleGAN has style {style}, depth {depth} and channels {list(channels)}")
        if any(n % 4 for n in channels[:-1]):
            raise RewriteError(f"channels {list(channels)} cannot be wavelets; all but the last must be multiples of 4")
        self.geometry: dict[str, Any] = {"style": style, "depth": depth, "channels": list(channels)}
        self.mapping = nn.ModuleList(nn.Linear(style, style) for _ in range(depth))
        self.input = nn.Parameter(torch.randn(1, channels[0], BASE, BASE))
        self.conv1 = Dense(style, channels[0])
        self.layers = nn.ModuleList(
            Block(style, before, after, BASE << i, to_img=i == len(channels) - 1)
            for i, (before, after) in enumerate(pairwise(channels), start=1)
        )
        self.mean_style: Tensor
        self.register_buffer("mean_style", torch.zeros(style))

    @classmethod
    def random(cls, seed: int, *, noise: float = 0.0, **geometry: Any) -> MobileStyleGAN:
        """An untrained network, for tests and benchmarks: one a seed, its images of some contrast.

        `noise` is the strength of every noise input. In eval mode, without gradients.
        """
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            module = cls(**geometry)
            for part in module.modules():
                if isinstance(part, nn.Linear):
                    part.weight.normal_(std=part.in_features**-0.5)
                    part.bias.normal_(std=0.1)
                elif isinstance(part, nn.Conv2d):
                    part.weight.normal_()
            for part in module.modules():
                if isinstance(part, Modulated | Upsample | ToImage):
                    # Nothing normalises, so a style far from 1 would grow from layer to layer.
                    part.modulation.weight.mul_(0.3)
                    part.modulation.bias.add_(1)
                if isinstance(part, ToImage):
                    part.conv.weight.div_(2)
                if isinstance(part, Modulated):
                    part.bias.normal_(std=0.1)
                    part.noise.mul_(noise)
            module.mean_style.copy_(module.map(torch.randn(4096, module.geometry["style"]))[:, 0].mean(0))
        return module.eval().requires_grad_(False)

    @property
    def rows(self) -> int:
        return 3 * len(self.layers) + 1

    @property
    def stages(self) -> list[Callable[[Flow], Flow]]:
        """The first convolution, two stages a block, the image."""
        blocks = [cast(Block, block) for block in self.layers]
        run: list[Callable[[Flow], Flow]] = [self._first]
        for i, block in enumerate(blocks):
            run += [partial(block.first, 3 * i + 1), partial(block.second, 3 * i + 2)]
        return [*run, partial(blocks[-1].image, self.rows - 1)]

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Latents (N, style) to ws (N, rows, style), all rows of an image alike."""
        style = self.geometry["style"]
        if z.ndim != 2 or z.shape[1] != style:
            raise RewriteError(f"latents have shape {tuple(z.shape)}; MobileStyleGAN takes (N, {style})")
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            w = F.leaky_relu(layer(w), SLOPE) * math.sqrt(2)
        return w[:, None].expand(-1, self.rows, -1)

    def forward(self, z: Tensor) -> Tensor:
        flow = Flow(None, None, self.map(z))
        for stage in self.stages:
            flow = stage(flow)
        return cast(Tensor, flow.image)

    def _first(self, flow: Flow) -> Flow:
        style, ws = self.geometry["style"], flow.ws
        if ws.shape[1:] not in {(style,), (self.rows, style)}:
            raise RewriteError(
                f"styles have shape {tuple(ws.shape)}; this MobileStyleGAN takes (N, {style}) or "
                f"(N, {self.rows}, {style})"
            )
        ws = ws[:, None].expand(-1, self.rows, -1) if ws.ndim == 2 else ws
        return flow.to(features=self.conv1(self.input, ws[:, 0], flow.noise), ws=ws)


class Modulated(nn.Module):
    """What the convolutions share: a style for each input channel; noise, bias and activation after it."""

    def __init__(self, style: int, inputs: int, outputs: int, resolution: int):
        super().__init__()
        self.modulation = nn.Linear(style, inputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise: Tensor
        self.register_buffer("noise", torch.randn(resolution, resolution))
        self.scale = 1 / math.sqrt(9 * inputs)

    def finish(self, conv: nn.Conv2d, key: Tensor, noise: Noise) -> Tensor:
        # A key that was put in may have any memory layout, and all that follows is twice as fast in this one.
        value = channels_last(conv(key))
        bias = self.bias[:, None, None]
        # Whoever observes the convolution, or differentiates, keeps its value; fresh memory costs ten times the sum.
        kept = torch.is_grad_enabled() or conv._forward_hooks
        features = value + bias if kept else value.add_(bias)
        if noise == "const":
            features += self.noise
        return F.leaky_relu_(features, SLOPE)


class Dense(Modulated):
    """The first convolution, 3 x 3, on the constant."""

    def __init__(self, style: int, channels: int):
        super().__init__(style, channels, channels, BASE)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        key = x * (self.modulation(w) * self.scale)[:, :, None, None]
        return self.finish(self.conv, channels_last(key), noise)


class Separable(Modulated):
    """Style, depthwise 3 x 3, pointwise."""

    def __init__(self, style: int, inputs: int, outputs: int, resolution: int):
        super().__init__(style, inputs, outputs, resolution)
        self.depthwise = nn.Parameter(torch.randn(inputs, 1, 3, 3))
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        x, kernel = fold(x, self.modulation(w) * self.scale, self.depthwise)
        return self.finish(self.pointwise, F.conv2d(x, kernel, padding=1, groups=len(kernel)), noise)


class Upsample(nn.Module):
    """Style, then wavelet coefficients (N, C, H, W) to features (N, C/4, 2H, 2W)."""

    def __init__(self, style: int, channels: int):
        super().__init__()
        self.modulation = nn.Linear(style, channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x, kernel = fold(x, self.modulation(w), haar(x))
        return F.conv_transpose2d(x, kernel, stride=2)


class ToImage(nn.Module):
    """Style, then a pointwise convolution to the wavelet coefficients of the image."""

    def __init__(self, style: int, channels: int):
        super().__init__()
        self.modulation = nn.Linear(style, channels)
        self.conv = nn.Conv2d(channels, 12, 1)
        self.scale = 1 / math.sqrt(channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        coefficients = self.conv(x * (self.modulation(w) * self.scale)[:, :, None, None])
        return F.conv_transpose2d(coefficients, haar(coefficients), stride=2).contiguous()


class Block(nn.Module):
    """One doubling of the resolution: upsampling, two separable convolutions, in the last block the image."""

    def __init__(self, style: int, before: int, after: int, resolution: int, *, to_img: bool):
        super().__init__()
        self.up = Upsample(style, before)
        self.conv1 = Separable(style, before // 4, after, resolution)
        self.conv2 = Separable(style, after, after, resolution)
        if to_img:
            self.to_img = ToImage(style, after)

    def first(self, row: int, flow: Flow) -> Flow:
        w = flow.ws[:, row]
        return flow.to(features=self.conv1(self.up(cast(Tensor, flow.features), w), w, flow.noise))

    def second(self, row: int, flow: Flow) -> Flow:
        return flow.to(features=self.conv2(cast(Tensor, flow.features), flow.ws[:, row], flow.noise))

    def image(self, row: int, flow: Flow) -> Flow:
        return flow.to(image=self.to_img(cast(Tensor, flow.features), flow.ws[:, row]))


def fold(x: Tensor, style: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """x (N, C, H, W) and kernel (C, ...) with style (N, C) multiplied into one of them.

    Into the kernel where one style serves all: it has thousands of numbers, and features have millions.
    """
    if len(style) == 1:
        return x, kernel * rearrange(style, "1 c -> c 1 1 1")
    return x * rearrange(style, "n c -> n c 1 1"), kernel


def haar(like: Tensor) -> Tensor:
    """Inverse Haar transform of `like` (N, C, H, W): kernel (C, C/4, 2, 2) of a transposed convolution.

    Channels are all C/4 low bands first, then (LH, HL, HH) for each. As a convolution it costs less than the
    additions it stands for, which would each be a pass over memory.
    """
    bands = like.new_tensor(
        [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]
    ).div(2)  # fmt: skip
    each = torch.eye(like.shape[1] // 4, dtype=like.dtype, device=like.device)
    kernels = torch.einsum("io,bpq->iobpq", each, bands)
    return torch.cat([kernels[:, :, 0], rearrange(kernels[:, :, 1:], "i o b p q -> (i b) o p q")])


def generator(module: MobileStyleGAN, *, name: str = "", card: Mapping[str, Any] | None = None) -> Generator:
    """The generator of a MobileStyleGAN: mapping, first convolution, pointwise convolutions, image layer."""
    layers = _mapping_layers(module)
    mapping = [name for name in module.state_dict() if name.startswith("mapping.")] + ["mean_style"]
    flows = ("noise", "bias", "activation")
    upstream, stage = [*mapping, "input"], 0

    def add(path: str, conv: nn.Conv2d, weight: str, resolution: int, follows: tuple[str, ...]) -> None:
        nonlocal stage, upstream
        inside = [key for key in module.state_dict() if key.startswith(f"{path}.")]
        before = [key for key in inside if ".modulation." in key or key.endswith(".depthwise")]
        block, _, last = path.rpartition(".")
        if last == "conv1" and block:
            before += [f"{block}.up.modulation.weight", f"{block}.up.modulation.bias"]
        layers[path] = Layer(
            name=path, module=conv, weight=f"{path}.{weight}.weight",
            bias=f"{path}.conv.bias" if conv.bias is not None else f"{path}.bias",
            kind="conv", shape=tuple(conv.weight.shape), out_axis=0, in_axis=1, kernel_axes=(2, 3),
            padding=cast(tuple[int, int], conv.padding), in_resolution=(resolution,) * 2,
            out_resolution=(resolution,) * 2, follows=follows, stage=stage, upstream=(*upstream, *before),
            units=_units(module, path, f"{path}.{weight}.weight"),
        )  # fmt: skip
        upstream = [*upstream, *dict.fromkeys([*before, *inside])]
        stage += 1

    add("conv1", module.conv1.conv, "conv", BASE, flows)
    for i, block in enumerate(cast(Sequence[Block], module.layers)):
        add(f"layers.{i}.conv1", block.conv1.pointwise, "pointwise", BASE << (i + 1), flows)
        add(f"layers.{i}.conv2", block.conv2.pointwise, "pointwise", BASE << (i + 1), flows)
    last = len(module.layers) - 1
    add(
        f"layers.{last}.to_img",
        cast(Block, module.layers[last]).to_img.conv,
        "conv",
        BASE << (last + 1),
        ("bias",),
    )
    return Generator(
        module=module, layers=layers, z_dim=module.geometry["style"], resolution=BASE << (last + 2),
        architecture="mobilestylegan", name=name, card=card or {},
    )  # fmt: skip


def _units(module: MobileStyleGAN, path: str, weight: str) -> UnitForm | None:
    """Units are silenced and scaled by the style of the one layer that reads them; None of the image's own layer.

    A filter of zeros would leave the noise, of which all units of a layer share one map.
    """
    if path.endswith(".to_img"):
        return None
    block, _, convolution = path.rpartition(".")
    if convolution == "conv1" and block:
        reader = f"{block}.conv2"
    else:
        after = int(block.split(".")[1]) + 1 if block else 0
        reader = f"layers.{after}.up" if after < len(module.layers) else f"{block}.to_img"
    style = ((f"{reader}.modulation.weight", 0), (f"{reader}.modulation.bias", 0))
    return UnitForm(
        constant=((weight, 0),), level=f"{path}.bias", scaled=style, silenced=style, slope=SLOPE,
        caveats={"set": "the layer's noise is one map for all of its units, and stays on top of the constant"},
    )  # fmt: skip


def _mapping_layers(module: MobileStyleGAN) -> dict[str, Layer]:
    names = [f"mapping.{i}" for i in range(len(module.mapping))]
    return {
        name: Layer(
            name=name, module=layer, weight=f"{name}.weight", bias=f"{name}.bias", kind="linear",
            shape=tuple(cast(nn.Linear, layer).weight.shape), out_axis=0, in_axis=1,
            follows=("bias", "activation"), stage=MAPPING, refuses=NO_PLACES,
            upstream=tuple(f"{before}.{part}" for before in names[:i] for part in ("weight", "bias")),
        )
        for i, (name, layer) in enumerate(zip(names, module.mapping, strict=True))
    }  # fmt: skip


def from_openvino(mapping: Graph, synthesis: Graph, *, progress: Progress = quiet) -> MobileStyleGAN:
    """The network in a pair of OpenVINO graphs, with its mean style over 100,000 seeded draws.

    The exporter folded demodulation into the convolutions and noise strengths into the noise; so they stay.
    RewriteError if the graphs are of another network, or hold constants this family does not have.
    """
    state = _mapping_tensors(mapping) | _synthesis_tensors(synthesis)
    blocks = len({name.split(".")[1] for name in state if name.startswith("layers.")})
    widths = ["conv1.conv.weight", *(f"layers.{i}.conv2.pointwise.weight" for i in range(blocks))]
    style = state["mapping.0.weight"].shape[1]
    depth = sum(name.startswith("mapping.") for name in state) // 2
    try:
        module = MobileStyleGAN(style=style, depth=depth, channels=[len(state[name]) for name in widths])
        module.load_state_dict(state | {"mean_style": torch.zeros(style)})
    except (RuntimeError, KeyError) as error:
        reason = str(error).partition("\n")[2].strip().partition("\n")[0] or str(error)
        raise RewriteError(
            f"the OpenVINO graphs do not fit a MobileStyleGAN ({reason}); expected its export"
        ) from error
    module.mean_style.copy_(_mean_style(module, progress))
    return module.eval().requires_grad_(False)


def _mean_style(module: MobileStyleGAN, progress: Progress) -> Tensor:
    # In float64, so that every machine rounds to the same float32.
    mapping, draws = nn.ModuleList(module.mapping), np.random.RandomState(0)
    total, chunk = torch.zeros(module.geometry["style"], dtype=torch.float64), 1000
    try:
        mapping.double()
        with torch.no_grad():
            for done in range(0, MEAN_DRAWS, chunk):
                progress("mean style", done, MEAN_DRAWS)
                z = torch.from_numpy(draws.standard_normal((chunk, module.geometry["style"])))
                total += module.map(z)[:, 0].sum(0)
    finally:
        mapping.float()
    progress("mean style", MEAN_DRAWS, MEAN_DRAWS)
    return (total / MEAN_DRAWS).float()


def _mapping_tensors(graph: Graph) -> dict[str, Tensor]:
    state = {}
    products = [node for node in graph.nodes.values() if node.kind == "MatMul"]
    for i, product in enumerate(products):
        _expect(product.attributes.get("transpose_b") == "true", "a mapping weight is not stored as (out, in)")
        state[f"mapping.{i}.weight"] = _tensor(graph, graph.inputs(product)[1])
        state[f"mapping.{i}.bias"] = _tensor(graph, _source(graph, graph.inputs(graph.following(product, "Add"))[1]))
        activation = graph.following(product, "PReLU")
        _expect_number(graph, graph.inputs(activation)[1], SLOPE)
        _expect_number(graph, graph.inputs(graph.following(activation, "Multiply"))[1], math.sqrt(2))
    _expect(bool(products), "the mapping network has no layers")
    return state


def _synthesis_tensors(graph: Graph) -> dict[str, Tensor]:
    state = {"input": _tensor(graph, "m.input.input")}
    names = {node.name.removeprefix("m.") for node in graph.nodes.values() if node.name.startswith("m.")}
    for name in sorted(names):
        owner, _, _ = name.rpartition(".modulation.")
        if name.endswith((".up.modulation.weight", ".conv.modulation.weight")):
            path = owner.removesuffix(".conv")
            state[f"{path}.modulation.weight"] = _tensor(graph, f"m.{name}")
            offset = graph.named(f"m.{owner}.modulation.bias")
            state[f"{path}.modulation.bias"] = _tensor(graph, offset).flatten()
            if not path.endswith(".up"):
                state |= _convolution(graph, path, graph.following(graph.consumers(offset)[0], "Multiply"))
    for node in graph.nodes.values():
        if node.kind == "PReLU":
            _expect_number(graph, graph.inputs(node)[1], SLOPE)
        if node.kind == "GroupConvolutionBackpropData":
            taps = graph.constant(graph.inputs(node)[1])
            _expect(bool(np.allclose(np.abs(taps), math.sqrt(0.5))), f"{node.name} is no Haar wavelet")
    return state


def _convolution(graph: Graph, path: str, scaling: Node) -> dict[str, Tensor]:
    """Weight, noise and bias of one layer, found from the product that scales its style."""
    bias = _tensor(graph, f"m.{path}.bias").flatten()
    if path.endswith(".to_img"):
        weight = _tensor(graph, f"m.{path}.conv.weight")
        _expect_scale(graph, scaling, weight.shape[1])
        return {f"{path}.conv.weight": weight, f"{path}.conv.bias": bias}
    # Demodulated weights have no name: they feed the first full convolution after the scaled style.
    convolution = graph.following(scaling, "Convolution")
    weight = _tensor(graph, graph.inputs(convolution)[1])
    _expect_scale(graph, scaling, 9 * weight.shape[1])
    noise = _tensor(graph, graph.inputs(graph.following(convolution, "Add"))[1])
    shared = {f"{path}.bias": bias, f"{path}.noise": noise.reshape(noise.shape[-2:])}
    if path == "conv1":
        return {f"{path}.conv.weight": weight, **shared}
    depthwise = rearrange(_tensor(graph, f"m.{path}.conv.weight_dw"), "c 1 1 h w -> c 1 h w")
    return {f"{path}.depthwise": depthwise, f"{path}.pointwise.weight": weight, **shared}


def _source(graph: Graph, node: Node) -> Node:
    """The constant that a chain of reshapes starts from."""
    while node.kind == "Reshape":
        node = graph.inputs(node)[0]
    return node


def _tensor(graph: Graph, node: Node | str) -> Tensor:
    return torch.from_numpy(graph.constant(node).astype(np.float32))


def _expect_scale(graph: Graph, scaling: Node, fan_in: int) -> None:
    factors = [node for node in graph.inputs(scaling) if node.kind == "Const"]
    _expect(len(factors) == 1, f"the style at {scaling.name} is not scaled by one constant")
    _expect_number(graph, factors[0], 1 / math.sqrt(fan_in))


def _expect_number(graph: Graph, node: Node, number: float) -> None:
    found = graph.constant(node)
    _expect(
        found.size == 1 and math.isclose(found.item(), number, rel_tol=1e-5),
        f"{node.name} is not {number:.6g}",
    )


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RewriteError(f"the OpenVINO graph is no export of MobileStyleGAN: {otherwise}")
