"""SNGAN: residual blocks and batch norm, with the parameter names of the mimicry library.

Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", appendix B.4 (the norm is in the
discriminator alone). With classes, batch norm takes its scale and offset from a table: Miyato and Koyama 2018, "cGANs
with Projection Discriminator".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Network
from rewrite.errors import RewriteError
from rewrite.generator import Flow, Generator, Layer, UnitForm
from rewrite.models.equalised import one_hot
from rewrite.models.layout import Layout, counted, same, shape_of
from rewrite.unfilled import stored_shapes

EPS = 1e-5
SPREAD = "its values are the features of all places at once, which have no convolution's places to paste to"


class SNGAN(nn.Module):
    """z (N, `z`) of standard normal numbers, and labels (N,) if there are classes, to images (N, 3, R, R) in [-1, 1].

    `channels` are the widths of the first features, of `side` x `side`, and behind each block, which doubles the
    resolution: R = side * 2 ** (len(channels) - 1). Styles are z with, of a conditional network, its label behind it.
    """

    mean_style = None

    def __init__(self, *, z: int = 128, side: int = 4, channels: Sequence[int], classes: int = 0):
        super().__init__()
        if not all(type(n) is int and 1 <= n <= 8192 for n in (z, side, *channels)) or not 2 <= len(channels) <= 10:
            raise RewriteError(f"no SNGAN has z {z}, side {side} and channels {list(channels)}")
        if not (type(classes) is int and 0 <= classes <= 2**20):
            raise RewriteError(f"no SNGAN has {classes} classes; expected 0 or more")
        self.geometry: dict[str, Any] = {"z": z, "side": side, "channels": list(channels), "classes": classes}
        last = len(channels) + 1
        self.l1 = nn.Linear(z, side**2 * channels[0])
        for i in range(1, len(channels)):
            self.add_module(f"block{i + 1}", Block(channels[i - 1], channels[i], classes))
        self.add_module(f"b{last}", Norm(channels[-1], 0))
        self.add_module(f"c{last}", nn.Conv2d(channels[-1], 3, 3, padding=1))

    @classmethod
    def random(cls, seed: int, **geometry: Any) -> SNGAN:
        """An untrained network, for tests: one a seed. In eval mode, without gradients."""
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            module = cls(**geometry)
            for part in module.modules():
                if isinstance(part, Norm):
                    part.stir()
        return module.eval().requires_grad_(False)

    @property
    def blocks(self) -> list[Block]:
        return [part for part in self.children() if isinstance(part, Block)]

    @property
    def stages(self) -> list[Callable[[Flow], Flow]]:
        """The first features, one a block, the image."""
        return [self._first, *(partial(self._stage, block) for block in self.blocks), self._image]

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z itself, or with its label as a row of 0 and 1 behind it."""
        if z.ndim != 2 or z.shape[1] != self.geometry["z"]:
            raise RewriteError(f"latents have shape {tuple(z.shape)}; this SNGAN takes (N, {self.geometry['z']})")
        classes = self.geometry["classes"]
        return torch.cat([z, one_hot(label, classes, z)], dim=1) if classes else z

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        flow = Flow(None, None, self.map(z, label))
        for stage in self.stages:
            flow = stage(flow)
        return cast(Tensor, flow.image)

    def _first(self, flow: Flow) -> Flow:
        size, side = self.geometry["z"], self.geometry["side"]
        if flow.ws.ndim != 2 or flow.ws.shape[1] != size + self.geometry["classes"]:
            raise RewriteError(
                f"styles have shape {tuple(flow.ws.shape)}; this SNGAN takes (N, {size + self.geometry['classes']})"
            )
        return flow.to(features=self.l1(flow.ws[:, :size]).unflatten(1, (-1, side, side)))

    def _stage(self, block: Block, flow: Flow) -> Flow:
        return flow.to(features=block(flow.features, flow.ws[:, self.geometry["z"] :]))

    def _image(self, flow: Flow) -> Flow:
        last = len(self.blocks) + 2
        norm, conv = self.get_submodule(f"b{last}"), self.get_submodule(f"c{last}")
        x = F.relu(norm(flow.features, flow.ws))
        return flow.to(image=torch.tanh(conv(x)))


class Norm(nn.Module):
    """Batch norm as it runs after training; with classes, scale and offset are a row of a table, side by side."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.running_mean: Tensor
        self.running_var: Tensor
        home: nn.Module = self
        if classes:
            self.bn = nn.Module()
            self.embed = nn.Embedding(classes, 2 * channels)
            home = self.bn
        else:
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))
        home.register_buffer("running_mean", torch.zeros(channels))
        home.register_buffer("running_var", torch.ones(channels))
        self.classes = classes

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        if not self.classes:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=EPS)
        scale, offset = (label @ self.embed.weight)[..., None, None].chunk(2, dim=1)
        mean, var = cast(Tensor, self.bn.running_mean), cast(Tensor, self.bn.running_var)
        return F.batch_norm(x, mean, var, eps=EPS) * scale + offset

    def stir(self) -> None:
        """Statistics and factors as a trained network might have them."""
        home = self.bn if self.classes else self
        cast(Tensor, home.running_mean).normal_(std=0.3)
        cast(Tensor, home.running_var).uniform_(0.2, 0.5)
        if self.classes:
            self.embed.weight.normal_(1.0, 0.3)
        else:
            self.weight.normal_(1.0, 0.2)
            self.bias.normal_(std=0.3)


class Block(nn.Module):
    """A residual block at twice the resolution, and a pointwise convolution around it."""

    def __init__(self, before: int, after: int, classes: int):
        super().__init__()
        self.b1, self.b2 = Norm(before, classes), Norm(after, classes)
        self.c1 = nn.Conv2d(before, after, 3, padding=1)
        self.c2 = nn.Conv2d(after, after, 3, padding=1)
        self.c_sc = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        inside = self.c1(_doubled(F.relu(self.b1(x, label))))
        inside = self.c2(F.relu(self.b2(inside, label)))
        return cast(Tensor, inside + self.c_sc(_doubled(x)))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def generator(module: SNGAN, *, name: str = "", card: Mapping[str, Any] | None = None) -> Generator:
    """The generator of an SNGAN: the first features, convolutions of the blocks, image layer."""
    stored, modules = list(module.state_dict()), dict(module.named_modules())
    layers = {
        "l1": Layer(
            name="l1", module=module.l1, weight="l1.weight", bias="l1.bias", kind="linear",
            shape=tuple(module.l1.weight.shape), out_axis=0, in_axis=1, follows=("bias",), stage=0, refuses=SPREAD,
        )
    }  # fmt: skip

    def add(path: str, stage: int, side: int, follows: tuple[str, ...], before: Sequence[str]) -> None:
        conv, last = cast(nn.Conv2d, modules[path]), path == f"c{len(module.blocks) + 2}"
        entries = (f"{path}.weight", 0), (f"{path}.bias", 0)
        layers[path] = Layer(
            name=path, module=conv, weight=f"{path}.weight", bias=f"{path}.bias", kind="conv",
            shape=tuple(conv.weight.shape), out_axis=0, in_axis=1, kernel_axes=(2, 3),
            padding=cast(tuple[int, int], conv.padding), in_resolution=(side,) * 2, out_resolution=(side,) * 2,
            follows=("bias", *follows), stage=stage, upstream=tuple(before),
            units=None if last else UnitForm(constant=entries[:1], level=f"{path}.bias", scaled=entries),
        )  # fmt: skip

    upstream, side = ["l1.weight", "l1.bias"], module.geometry["side"]
    for i in range(len(module.blocks)):
        path, side = f"block{i + 2}", side * 2
        first = [key for key in stored if key.startswith((f"{path}.b1.", f"{path}.c1."))]
        add(f"{path}.c_sc", i + 1, side, (), upstream)
        add(f"{path}.c1", i + 1, side, ("norm", "activation"), [*upstream, *(k for k in first if ".b1." in k)])
        second = [key for key in stored if key.startswith(f"{path}.b2.")]
        add(f"{path}.c2", i + 1, side, (), [*upstream, *first, *second])
        upstream += [key for key in stored if key.startswith(f"{path}.")]
    last = len(module.blocks) + 2
    upstream += [key for key in stored if key.startswith(f"b{last}.")]
    add(f"c{last}", last - 1, side, ("activation",), upstream)
    return Generator(
        module=module, layers=layers, z_dim=module.geometry["z"], resolution=side,
        classes=module.geometry["classes"], architecture="sngan", name=name, card=card or {},
    )  # fmt: skip


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """By `l1.weight` and `block2.c_sc.weight`."""
    shapes = network.shapes
    if not {"l1.weight", "block2.c1.weight", "block2.c_sc.weight"} <= set(shapes):
        return None
    if any(name.endswith(("sn_u", "sn_sigma")) for name in shapes):
        raise RewriteError(
            "this SNGAN has spectral norm in its generator, too; fold it into the weights and save again"
        )
    classes = shapes["block2.b1.embed.weight"][0] if "block2.b1.embed.weight" in shapes else 0
    blocks = [f"block{i}" for i in range(2, counted(network, "block{}.c1.weight"))]
    channels = [shape_of(network, f"{blocks[0]}.c1.weight")[1]]
    channels += [shape_of(network, f"{block}.c2.weight")[0] for block in blocks]
    outputs, z = shape_of(network, "l1.weight")
    side = math.isqrt(outputs // channels[0])
    geometry: dict[str, Any] = {"z": z, "side": side, "channels": channels, "classes": classes}
    last = len(channels) + 1
    if (colours := shape_of(network, f"c{last}.weight")[0]) != 3:
        raise RewriteError(f"this SNGAN paints {colours} channels; expected 3, red, green and blue")
    expected = stored_shapes(SNGAN, geometry)
    for name, shape in expected.items():
        if (found := shape_of(network, name)) != shape:
            raise RewriteError(f"{name} has shape {found}; expected {shape}, as every block doubles the resolution")
    traces = [name for name in shapes if re.search(r"num_batches_tracked$", name)]
    return Layout(
        "sngan", "l1.weight, block2.c_sc.weight: mimicry's SNGAN", geometry, {name: same(name) for name in expected},
        constants=traces, notes=("Every block is taken to double the resolution, as in the library's networks.",),
    )  # fmt: skip
