"""BigGAN-deep, with the parameter names of the pytorch-pretrained-biggan project.

Brock, Donahue, Simonyan 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis", appendix B.
Spectral norm is folded into the weights: after training it is a constant. Truncation is not a pull to a mean style: z
is scaled, and batch norm has statistics of its own for each of 51 truncations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Network
from rewrite.errors import RewriteError
from rewrite.generator import Flow, Generator, Layer, UnitForm
from rewrite.latents import Name, Row, Vector, draw
from rewrite.models.equalised import one_hot
from rewrite.models.layout import Key, Layout, counted, fitting, shape_of
from rewrite.unfilled import stored_shapes

EPS = 1e-4
REDUCTION = 4
"""Channels inside a block are so many times fewer."""
FIRST = 4
"""Resolution of the first features."""
WIDE = 16
"""Their width, in units of the last one's."""
SPREAD = "its values are the features of all places at once, which have no convolution's places to paste to"
ATTENTION = ("theta", "phi", "g", "o_conv")


class BigGAN(nn.Module):
    """z (N, `z`) of numbers from -2 to 2, and labels (N,), to images (N, 3, R, R) in [-1, 1].

    `blocks` are (twice the resolution or not, channels in, channels out), from 4 px on; attention comes before the
    block of index `attention`. Styles are conditions (N, z + embedded class + 1), whose last number is the truncation.
    `exact` takes batch statistics between two truncations as the original does, which weighs them the wrong way round.
    """

    mean_style = None

    def __init__(
        self, *, z: int = 128, classes: int = 1000, embedding: int = 128, width: int = 128,
        blocks: Sequence[Sequence[Any]], attention: int, statistics: int = 51, exact: bool = True,
    ):  # fmt: skip
        super().__init__()
        _check(z, classes, embedding, width, blocks, attention, statistics)
        self.geometry: dict[str, Any] = {
            "z": z, "classes": classes, "embedding": embedding, "width": width, "blocks": [list(b) for b in blocks],
            "attention": attention, "statistics": statistics,
        }  # fmt: skip
        self.geometry |= {} if exact else {"exact": False}
        self.embeddings = nn.Linear(classes, embedding, bias=False)
        self.generator = nn.Module()
        self.generator.gen_z = nn.Linear(z + embedding, FIRST**2 * WIDE * width)
        parts: list[nn.Module] = []
        for i, (up, before, after) in enumerate(blocks):
            parts += [Attention(before)] if i == attention else []
            parts.append(Block(before, after, z + embedding, statistics, up=bool(up), exact=exact))
        self.generator.layers = nn.ModuleList(parts)
        self.generator.bn = Norm(width, 0, statistics, exact)
        self.generator.conv_to_rgb = nn.Conv2d(width, width, 3, padding=1)

    @classmethod
    def random(cls, seed: int, **geometry: Any) -> BigGAN:
        """An untrained network, for tests: one a seed. In eval mode, without gradients."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            module = cls(**geometry)
            for part in module.modules():
                if isinstance(part, Norm):
                    part.running_means.normal_(std=0.2)
                    part.running_vars.uniform_(0.5, 1.5)
                if isinstance(part, Attention):
                    part.gamma.fill_(0.7)
                if isinstance(part, nn.Conv2d | nn.Linear):
                    part.weight.normal_(std=part.weight[0].numel() ** -0.5)
        return module.eval().requires_grad_(False)

    @property
    def inner(self) -> Any:
        """What the project calls the generator: all but the table of classes."""
        return self.generator

    @property
    def stages(self) -> list[Callable[[Flow], Flow]]:
        """The first features, one a block or attention, the image."""
        return [self._first, *(partial(self._stage, part) for part in self.inner.layers), self._image]

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Conditions (N, z + embedding + 1) at truncation 1."""
        if z.ndim != 2 or z.shape[1] != self.geometry["z"]:
            raise RewriteError(f"latents have shape {tuple(z.shape)}; this BigGAN takes (N, {self.geometry['z']})")
        embedded = self.embeddings(one_hot(label, self.geometry["classes"], z))
        return torch.cat([z, embedded, torch.ones_like(z[:, :1])], dim=1)

    def truncate(self, ws: Tensor, truncation: float, label: Tensor | None) -> Tensor:  # noqa: ARG002
        """Conditions with z so many times as large."""
        if not 0 <= truncation <= 1:
            raise RewriteError(f"truncation is {truncation}; this BigGAN has statistics for 0 to 1")
        size = self.geometry["z"]
        return torch.cat([ws[:, :size] * truncation, ws[:, size:-1], torch.full_like(ws[:, -1:], truncation)], dim=1)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        flow = Flow(None, None, self.map(z, label))
        for stage in self.stages:
            flow = stage(flow)
        return cast(Tensor, flow.image)

    def _first(self, flow: Flow) -> Flow:
        wanted = self.geometry["z"] + self.geometry["embedding"] + 1
        if flow.ws.ndim != 2 or flow.ws.shape[1] != wanted:
            raise RewriteError(f"styles have shape {tuple(flow.ws.shape)}; this BigGAN takes (N, {wanted})")
        features = self.inner.gen_z(flow.ws[:, :-1])
        return flow.to(features=rearrange(features, "n (h w c) -> n c h w", h=FIRST, w=FIRST))

    def _stage(self, part: nn.Module, flow: Flow) -> Flow:
        return flow.to(features=part(flow.features, flow.ws))

    def _image(self, flow: Flow) -> Flow:
        x = F.relu(self.inner.bn(cast(Tensor, flow.features), flow.ws))
        return flow.to(image=torch.tanh(self.inner.conv_to_rgb(x)[:, :3]))


class Norm(nn.Module):
    """Batch norm with the statistics of the image's truncation, and a scale and offset that its condition gives."""

    def __init__(self, channels: int, condition: int, statistics: int, exact: bool):
        super().__init__()
        self.running_means: Tensor
        self.running_vars: Tensor
        self.register_buffer("running_means", torch.zeros(statistics, channels))
        self.register_buffer("running_vars", torch.ones(statistics, channels))
        self.conditional, self.exact = condition > 0, exact
        if condition:
            self.scale = nn.Linear(condition, channels, bias=False)
            self.offset = nn.Linear(condition, channels, bias=False)
        else:
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, ws: Tensor) -> Tensor:
        mean, var = (self._at(ws[:, -1], rows)[..., None, None] for rows in (self.running_means, self.running_vars))
        scale = 1 + self.scale(ws[:, :-1]) if self.conditional else self.weight.expand(len(x), -1)
        offset = self.offset(ws[:, :-1]) if self.conditional else self.bias.expand(len(x), -1)
        return (x - mean) * (var + EPS).rsqrt() * scale[..., None, None] + offset[..., None, None]

    def _at(self, truncations: Tensor, rows: Tensor) -> Tensor:
        """Statistics (N, C) at truncations (N,)."""
        # As the decimal that was meant: in float32 0.1 lies above 0.1, and so after the row that it is the number of.
        meant = [float(str(np.float32(t))) for t in truncations.tolist()]
        found = {t: self._between(t, rows) for t in set(meant)}
        return torch.stack([found[t] for t in meant])

    def _between(self, truncation: float, rows: Tensor) -> Tensor:
        share, row = math.modf(truncation / (1.0 / (len(rows) - 1)))
        start = int(row)
        if not share:
            return rows[start]
        share = share if self.exact else 1 - share
        return rows[start] * share + rows[start + 1] * (1 - share)


class Block(nn.Module):
    """A residual block with a bottleneck; around it, the first channels and the nearest pixels."""

    def __init__(self, before: int, after: int, condition: int, statistics: int, *, up: bool, exact: bool):
        super().__init__()
        inside = before // REDUCTION
        widths = [before, inside, inside, inside, after]
        for i, kernel in enumerate((1, 3, 3, 1)):
            self.add_module(f"bn_{i}", Norm(widths[i], condition, statistics, exact))
            self.add_module(f"conv_{i}", nn.Conv2d(widths[i], widths[i + 1], kernel, padding=kernel // 2))
        self.up, self.after = up, after

    def forward(self, x: Tensor, ws: Tensor) -> Tensor:
        around = x[:, : self.after]
        for i in range(4):
            x = F.relu(self.get_submodule(f"bn_{i}")(x, ws))
            x = _doubled(x) if self.up and i == 1 else x
            x = self.get_submodule(f"conv_{i}")(x)
        return x + (_doubled(around) if self.up else around)


class Attention(nn.Module):
    """Self-attention: each place looks at all places of the half resolution (Zhang et al. 2019)."""

    def __init__(self, channels: int):
        super().__init__()
        self.snconv1x1_theta = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.snconv1x1_phi = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.snconv1x1_g = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.snconv1x1_o_conv = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, ws: Tensor) -> Tensor:  # noqa: ARG002
        asked = self.snconv1x1_theta(x).flatten(2)
        offered, content = (F.max_pool2d(part(x), 2).flatten(2) for part in (self.snconv1x1_phi, self.snconv1x1_g))
        weights = (asked.mT @ offered).softmax(dim=-1)
        seen = (content @ weights.mT).unflatten(2, x.shape[2:])
        return cast(Tensor, x + self.gamma * self.snconv1x1_o_conv(seen))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def sample(names: Iterable[Name], size: int) -> Tensor:
    """Latents (N, size) float32 of a normal distribution cut at -2 and 2, by the project's convention.

    A seed is RandomState(seed), uniform numbers through the inverse of the distribution; a stream's row likewise.
    """
    lowest = torch.special.ndtr(torch.tensor(-2.0, dtype=torch.float64))
    drawn = []
    for name in names:
        if isinstance(name, Vector):
            drawn.append(draw([name], size)[0])
            continue
        draw([name], size)  # It checks the name.
        seed, count = (name.stream, name.row + 1) if isinstance(name, Row) else (name, 1)
        uniform = torch.from_numpy(np.random.RandomState(seed).uniform(size=(count, size))[-1])
        drawn.append(torch.special.ndtri(lowest + uniform * (1 - 2 * lowest)).float())
    return torch.stack(drawn) if drawn else torch.empty(0, size)


def generator(module: BigGAN, *, name: str = "", card: Mapping[str, Any] | None = None) -> Generator:
    """The generator of a BigGAN: the first features, convolutions of blocks and attention, image layer."""
    stored, modules = list(module.state_dict()), dict(module.named_modules())
    layers: dict[str, Layer] = {}
    upstream = ["embeddings.weight"]
    layers["generator.gen_z"] = Layer(
        name="generator.gen_z", module=module.inner.gen_z, weight="generator.gen_z.weight", bias="generator.gen_z.bias",
        kind="linear", shape=tuple(module.inner.gen_z.weight.shape), out_axis=0, in_axis=1, follows=("bias",),
        stage=0, upstream=tuple(upstream), refuses=SPREAD,
    )  # fmt: skip
    upstream += ["generator.gen_z.weight", "generator.gen_z.bias"]
    side = FIRST

    def add(path: str, stage: int, resolution: int, follows: tuple[str, ...], before: Sequence[str]) -> None:
        conv = cast(nn.Conv2d, modules[path])
        weight, bias = f"{path}.weight", f"{path}.bias" if conv.bias is not None else None
        image = path.endswith("conv_to_rgb")
        entries = ((weight, 0), *([(bias, 0)] if bias else []))
        layers[path] = Layer(
            name=path, module=conv, weight=weight, bias=bias, kind="conv", shape=tuple(conv.weight.shape), out_axis=0,
            in_axis=1, kernel_axes=(2, 3), padding=cast(tuple[int, int], conv.padding),
            in_resolution=(resolution,) * 2, out_resolution=(resolution,) * 2,
            follows=(*(["bias"] if bias else []), *follows), stage=stage, upstream=tuple(before),
            units=None if image else UnitForm(constant=entries[:1], level=bias, scaled=entries),
        )  # fmt: skip

    for i, part in enumerate(module.inner.layers):
        path = f"generator.layers.{i}"
        if isinstance(part, Attention):
            for kind in ATTENTION:
                before = [f"{path}.snconv1x1_{other}.weight" for other in ATTENTION[:3]] if kind == "o_conv" else []
                add(f"{path}.snconv1x1_{kind}", i + 1, side, (), [*upstream, *before])
        else:
            before = []
            for j in range(4):
                before += [key for key in stored if key.startswith(f"{path}.bn_{j}.")]
                resolution = side * 2 if part.up and j else side
                follows = ("norm", "activation") if j < 3 else ()
                add(f"{path}.conv_{j}", i + 1, resolution, follows, [*upstream, *before])
                before += [f"{path}.conv_{j}.weight", f"{path}.conv_{j}.bias"]
            side *= 2 if part.up else 1
        upstream += [key for key in stored if key.startswith(f"{path}.")]
    upstream += [key for key in stored if key.startswith("generator.bn.")]
    add("generator.conv_to_rgb", len(module.inner.layers) + 1, side, ("activation",), upstream)
    size = module.geometry["z"]
    return Generator(
        module=module, layers=layers, z_dim=size, resolution=side, classes=module.geometry["classes"],
        architecture="biggan", name=name, card=card or {}, sample=partial(sample, size=size),
    )  # fmt: skip


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """By `embeddings.weight` and `generator.gen_z.weight_orig`."""
    shapes = network.shapes
    if not {"embeddings.weight", "generator.gen_z.weight_orig"} <= set(shapes):
        return None
    embedding, classes = shape_of(network, "embeddings.weight")
    count = max(counted(network, f"generator.layers.{{}}.{part}") for part in ("conv_0.weight_orig", "gamma"))
    blocks: list[list[Any]] = []
    attention = -1
    for path in (f"generator.layers.{i}" for i in range(count)):
        if f"{path}.gamma" in shapes:
            attention = len(blocks)
            continue
        before, after = (
            shape_of(network, f"{path}.conv_0.weight_orig")[1],
            shape_of(network, f"{path}.conv_3.weight_orig")[0],
        )
        # Every second block of BigGAN-deep, and its last, doubles the resolution.
        blocks.append([len(blocks) % 2 == 1, before, after])
    geometry: dict[str, Any] = {
        "z": shape_of(network, "generator.gen_z.weight_orig")[1] - embedding, "classes": classes,
        "embedding": embedding, "width": shape_of(network, "generator.conv_to_rgb.weight_orig")[0], "blocks": blocks,
        "attention": attention, "statistics": shape_of(network, "generator.bn.running_means")[0],
    }  # fmt: skip
    expected = stored_shapes(BigGAN, geometry)
    keys = {ours: _key(network, ours, shape) for ours, shape in expected.items()}
    traces = [name for name in shapes if re.search(r"\.(weight_u|weight_v|num_batches_tracked)$", name)]
    traces += [name for name in shapes if f"{name}_orig" in shapes]
    return Layout(
        "biggan", "generator.gen_z.weight_orig: BigGAN-deep of pytorch-pretrained-biggan", geometry, keys,
        constants=traces, notes=("Every second block is taken to double the resolution, as in the published models.",),
    )  # fmt: skip


def _key(network: Network, name: str, shape: tuple[int, ...]) -> Key:
    """Weights with a spectral norm lie in the file before it: ours are divided by it."""
    if f"{name}_orig" not in network.shapes:
        return fitting(name, shape, shape_of(network, name))
    fitting(f"{name}_orig", shape, shape_of(network, f"{name}_orig"))

    def norm(weight: Tensor) -> Tensor:
        u, v = (network.tensors[f"{name}_{side}"].double() for side in "uv")
        return u @ (weight.double().flatten(1) @ v)

    def theirs(weight: Tensor) -> Tensor:
        return (weight.double() * norm(network.tensors[f"{name}_orig"])).float()

    def also(weight: Tensor) -> dict[str, Tensor]:
        # Their code would divide by the norm of the edited weight: with this u it finds the old one.
        return {f"{name}_u": (network.tensors[f"{name}_u"].double() / norm(weight)).float()}

    return Key(f"{name}_orig", lambda t: (t.double() / norm(t)).float(), theirs, also)


def _check(
    z: int, classes: int, embedding: int, width: int, blocks: Sequence[Sequence[Any]], attention: int, statistics: int
) -> None:
    sizes = [z, classes, embedding, width, *(n for block in blocks for n in block[1:])]
    if not all(type(n) is int and 1 <= n <= 2**20 for n in sizes) or not 1 <= len(blocks) <= 32 or width < 3:
        raise RewriteError(f"no BigGAN has z {z}, {classes} classes, width {width} and blocks {list(blocks)[:2]}, ...")
    entered = [block[1] for block in blocks] + [width]
    left = [WIDE * width] + [block[2] for block in blocks]
    if entered != left or any(len(b) != 3 or b[1] % 8 or b[2] not in (b[1], b[1] // 2) for b in blocks):
        raise RewriteError(
            f"the blocks of this BigGAN are {list(blocks)}; expected each to take what the one before it gives, from "
            f"{WIDE * width} channels down to {width}, in multiples of 8, and to keep or halve it"
        )
    if not (type(attention) is int and -1 <= attention < len(blocks) and type(statistics) is int and statistics > 1):
        raise RewriteError(f"no BigGAN has attention before block {attention} and {statistics} statistics")
