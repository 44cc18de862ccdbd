"""DCGAN: transposed convolutions, batch norm, ReLU; tanh at the end.

Radford, Metz, Chintala 2016, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks". Parameters are named as in the tutorial code that most checkpoints come from: `main.0`,
`main.1`, `main.3`, ...
"""

from __future__ import annotations

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
from rewrite.models.layout import Layout, same

KERNEL = 4


class DCGAN(nn.Module):
    """z (N, `z`) of standard normal numbers to images (N, 3, R, R) in [-1, 1], R = 2 * 2 ** len(channels).

    `channels` are the outputs of the transposed convolutions; the last is 3.
    """

    mean_style = None

    def __init__(self, *, z: int = 100, channels: Sequence[int] = (512, 256, 128, 64, 3)):
        super().__init__()
        if not all(type(n) is int and 1 <= n <= 8192 for n in (z, *channels)) or not 2 <= len(channels) <= 10:
            raise RewriteError(f"no DCGAN has z {z} and channels {list(channels)}")
        if channels[-1] != 3:
            raise RewriteError(f"this DCGAN paints {channels[-1]} channels; expected 3, red, green and blue")
        self.geometry: dict[str, Any] = {"z": z, "channels": list(channels)}
        main: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip((z, *channels), channels, strict=False)):
            stride, padding = (2, 1) if i else (1, 0)
            main.append(nn.ConvTranspose2d(inputs, outputs, KERNEL, stride, padding, bias=False))
            main += [Norm(outputs), nn.ReLU()] if i < len(channels) - 1 else [nn.Tanh()]
        self.main = nn.Sequential(*main)

    @property
    def stages(self) -> list[Callable[[Flow], Flow]]:
        """One a transposed convolution, with its norm and activation."""
        return [partial(self._stage, start) for start in range(0, len(self.main), 3)]

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """z itself: this family has no mapping."""
        if z.ndim != 2 or z.shape[1] != self.geometry["z"]:
            raise RewriteError(f"latents have shape {tuple(z.shape)}; this DCGAN takes (N, {self.geometry['z']})")
        return z

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.main(rearrange(self.map(z), "n z -> n z 1 1")))

    def _stage(self, start: int, flow: Flow) -> Flow:
        features = flow.features if start else rearrange(self.map(flow.ws), "n z -> n z 1 1")
        features = self.main[start : start + 3](features)
        return flow.to(features=features, image=features)


class Norm(nn.Module):
    """Batch norm as it runs after training: with its stored statistics, whatever the batch."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-5)


def generator(module: DCGAN, *, name: str = "", card: Mapping[str, Any] | None = None) -> Generator:
    """The generator of a DCGAN: its transposed convolutions, by their names in the checkpoint."""
    layers: dict[str, Layer] = {}
    stored = list(module.state_dict())
    for stage, i in enumerate(range(0, len(module.main), 3)):
        conv = cast(nn.ConvTranspose2d, module.main[i])
        path, last = f"main.{i}", i + 3 > len(module.main)
        layers[path] = Layer(
            name=path, module=conv, weight=f"{path}.weight", bias=None, kind="transposed conv",
            shape=tuple(conv.weight.shape), out_axis=1, in_axis=0, kernel_axes=(2, 3),
            stride=cast(tuple[int, int], conv.stride), padding=cast(tuple[int, int], conv.padding),
            in_resolution=(2 << stage,) * 2 if stage else (1, 1), out_resolution=(4 << stage,) * 2,
            follows=("activation",) if last else ("norm", "activation"),
            stage=stage, upstream=tuple(stored[: stored.index(f"{path}.weight")]),
            units=None if last else _units(f"main.{i + 1}"),
        )  # fmt: skip
    return Generator(
        module=module, layers=layers, z_dim=module.geometry["z"], resolution=2 << len(layers),
        architecture="dcgan", name=name, card=card or {},
    )  # fmt: skip


def _units(norm: str) -> UnitForm:
    """Batch norm is all that a unit hangs on: without its factor, its offset is what ReLU gets."""
    factor, offset = f"{norm}.weight", f"{norm}.bias"
    return UnitForm(constant=((factor, 0),), level=offset, scaled=((factor, 0), (offset, 0)), slope=0.0)


def from_tensors(tensors: Mapping[str, Tensor]) -> DCGAN:
    """The network whose state dict this is, its sizes read off the tensors' shapes.

    RewriteError if they are not those of a DCGAN with 4 x 4 kernels.
    """
    state = {name: tensor.float() for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    kernels = [tensor for _, tensor in sorted(state.items(), key=_position) if tensor.ndim == 4]
    if not kernels or any(kernel.shape[2:] != (KERNEL, KERNEL) for kernel in kernels):
        raise RewriteError(f"these tensors are no DCGAN; expected main.0.weight, ... with {KERNEL} x {KERNEL} kernels")
    module = DCGAN(z=len(kernels[0]), channels=[kernel.shape[1] for kernel in kernels])
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise RewriteError(
            f"these tensors do not fit a DCGAN ({reason}); expected main.0, main.1, main.3, ..."
        ) from error
    return module.eval().requires_grad_(False)


def explain(network: Network, beside: Mapping[str, Any]) -> Layout | None:  # noqa: ARG001
    """By `main.0.weight` of four axes and `main.1.running_mean`."""
    shapes = network.shapes
    if len(shapes.get("main.0.weight", ())) != 4 or "main.1.running_mean" not in shapes:
        return None
    kernels = [shape for _, shape in sorted(shapes.items(), key=_position) if len(shape) == 4]
    if any(tuple(shape[2:]) != (KERNEL, KERNEL) for shape in kernels):
        raise RewriteError(
            f"this DCGAN has kernels of {kernels[-1][2]} x {kernels[-1][3]}, and its weights do not tell their "
            f"strides; expected {KERNEL} x {KERNEL} throughout, so wrap your network with rewrite.Generator.wrap"
        )
    traces = [name for name in shapes if name.endswith("num_batches_tracked")]
    return Layout(
        "dcgan", "main.0.weight of four axes, main.1.running_mean: the tutorial's DCGAN",
        {"z": kernels[0][0], "channels": [shape[1] for shape in kernels]},
        {name: same(name) for name in shapes if name not in traces}, constants=traces,
    )  # fmt: skip


def _position(item: tuple[str, Any]) -> tuple[int, str]:
    """Order in the network: main.9 before main.12."""
    part = item[0].split(".")[1:2]
    return (int(part[0]) if part and part[0].isdecimal() else 0, item[0])
