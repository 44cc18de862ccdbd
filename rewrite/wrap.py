"""Any network from latents to images as a generator: its layers are found by watching it once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from edits.finite import finite
from rewrite.errors import RewriteError
from rewrite.generator import Flow, Generator, Kind, Layer, Sample, UnitForm
from rewrite.latents import draw

KINDS: dict[type[nn.Module], Kind] = {
    nn.Linear: "linear",
    nn.Conv2d: "conv",
    nn.ConvTranspose2d: "transposed conv",
}
TRACED = 2
"""Images in the traced pass: with one, a layer that mixes images would go unnoticed."""


@dataclass
class Wrapped:
    """A network that is one stage: latents in, images out."""

    module: nn.Module
    mean_style: Tensor | None = None

    @property
    def stages(self) -> Sequence[Callable[[Flow], Flow]]:
        return [self._run]

    def map(self, z: Tensor, label: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """z itself: nothing is known of a mapping inside."""
        return z

    def _run(self, flow: Flow) -> Flow:
        return flow.to(image=images(self.module(flow.ws)))


def wrap(module: nn.Module, *, latent: int, sample: Sample | None = None, name: str = "") -> Generator:
    """A generator of a module that takes z (N, `latent`) and returns images (N, 3, H, W) in [-1, 1], or grey.

    `sample` draws z by name where the network wants another convention or another shape. The module is put
    into eval mode and run once, on two latents. Layers are its linear and two-dimensional convolution modules
    in the order they ran; one whose stored weight does not tell what it does says so in `refuses`.
    RewriteError if no images come out.
    """
    module.eval()
    z = (draw(range(TRACED), latent) if sample is None else sample(range(TRACED))).to(_device(module))
    calls: dict[str, _Call] = {}
    with torch.no_grad(), _watched(module, calls):
        out = images(module(z))
    if not finite(out):
        raise RewriteError("the network's images hold NaN or infinity; its weights are damaged, so get them again")
    with torch.no_grad():
        if not torch.equal(out, images(module(z))):
            raise RewriteError(
                "the network makes other images of the same latents on a second pass; expected one that draws nothing "
                "itself, so give it fixed noise"
            )
    stored, modules = module.state_dict(), dict(module.named_modules())
    order = list(calls)
    layers = {}
    for i, (path, call) in enumerate(calls.items()):
        if kind := _kind(modules[path]):
            later = tuple(f"{other}." for other in order[i:])
            upstream = tuple(key for key in stored if not key.startswith(later))
            layers[path] = _layer(path, modules[path], kind, call, stored, upstream)
    return Generator(
        module=module, layers=layers, z_dim=latent, resolution=max(out.shape[2:]),
        architecture=type(module).__name__, name=name, network=Wrapped(module), sample=sample,
    )  # fmt: skip


def images(out: Any) -> Tensor:
    """What a network returned as images (N, 3, H, W); RewriteError if it is nothing like it."""
    if not isinstance(out, Tensor) or out.ndim != 4 or out.shape[1] not in {1, 3} or not out.is_floating_point():
        found = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise RewriteError(
            f"the network returned {found}; expected images (N, 3, H, W), so wrap a module that returns those"
        )
    return out.expand(-1, 3, -1, -1)


@dataclass
class _Call:
    """What was seen of one module in the traced pass: its first input and output, and how often it ran."""

    key: Tensor
    value: Tensor
    count: int = 1


@contextmanager
def _watched(module: nn.Module, calls: dict[str, _Call]) -> Iterator[None]:
    def hook(path: str) -> Callable[..., None]:
        def seen(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if path in calls:
                calls[path].count += 1
            elif inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                # What follows may work in place.
                calls[path] = _Call(inputs[0].clone(), output.clone())

        return seen

    handles = [
        part.register_forward_hook(hook(path))
        for path, part in module.named_modules()
        if path and (_kind(part) or not list(part.children()))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _kind(part: nn.Module) -> Kind | None:
    return next((kind for type_, kind in KINDS.items() if isinstance(part, type_)), None)


def _device(module: nn.Module) -> torch.device:
    return next((tensor.device for tensor in module.state_dict().values()), torch.device("cpu"))


def _layer(
    path: str,
    part: nn.Module,
    kind: Kind,
    call: _Call,
    stored: Mapping[str, Tensor],
    upstream: tuple[str, ...],
) -> Layer:
    conv, transposed = kind != "linear", kind == "transposed conv"
    padding = _padding(part)
    weight = _stored_weight(path, part, stored)
    return Layer(
        name=path, module=part, weight=weight, kind=kind,
        bias=f"{path}.bias" if f"{path}.bias" in stored else None,
        shape=tuple(stored[weight].shape), out_axis=int(transposed), in_axis=int(not transposed),
        kernel_axes=(2, 3) if conv else (), stride=_pair(part, "stride", (1, 1)), padding=padding or (0, 0),
        output_padding=_pair(part, "output_padding", (0, 0)),
        in_resolution=tuple(call.key.shape[-2:]) if conv else (1, 1),  # type: ignore[arg-type]
        out_resolution=tuple(call.value.shape[-2:]) if conv else (1, 1),  # type: ignore[arg-type]
        follows=("bias",) if f"{path}.bias" in stored else (), upstream=upstream,
        refuses=_refusal(path, part, kind, call, stored, padding),
        units=_units(path, part, kind, call, stored),
    )  # fmt: skip


def _refusal(
    path: str,
    part: Any,
    kind: Kind,
    call: _Call,
    stored: Mapping[str, Tensor],
    padding: tuple[int, int] | None,
) -> str | None:
    """Why a rule cannot edit this module, or None. The last reason is found by trying."""
    if fold := _folding(path, part, stored):
        return f"its weight is recomputed on every pass; fold it with {fold} and wrap again"
    if kind != "linear" and part.groups != 1:
        return f"it is grouped ({part.groups} groups), so no key is seen by every output; edit its units instead"
    if kind != "linear" and tuple(part.dilation) != (1, 1):
        return f"it is dilated by {tuple(part.dilation)}; rules need a dilation of 1"
    if kind != "linear" and part.padding_mode != "zeros":
        return f"it pads with {part.padding_mode!r}; rules need zeros"
    if padding is None:
        return f"it pads unevenly ({part.padding!r}); rules need the same on both sides"
    if call.count > 1:
        return f"it runs {call.count} times in a pass, so one key does not tell what its weight does"
    if call.key.ndim != (2 if kind == "linear" else 4) or len(call.key) != TRACED:
        return f"its input for {TRACED} images is {tuple(call.key.shape)}; rules need one vector or map an image"
    weight = stored[f"{path}.weight"]
    if tied := [key for key, other in stored.items() if key != f"{path}.weight" and _same(other, weight)]:
        return f"its weight is also {', '.join(tied)}, so an edit here would act there too"
    value = _apply(part, kind, call.key, weight, stored.get(f"{path}.bias"), padding)
    if value.shape != call.value.shape or not torch.allclose(value, call.value, rtol=1e-3, atol=1e-3 * _spread(value)):
        return "its output is not what its stored weight makes of its input: something scales or replaces one"
    return None


def _units(path: str, part: Any, kind: Kind, call: _Call, stored: Mapping[str, Tensor]) -> UnitForm | None:
    """Units are what the module returns: its filters and its bias, or None where these are not its own and stored."""
    weight, bias, axis = f"{path}.weight", f"{path}.bias", int(kind == "transposed conv")
    if _folding(path, part, stored) or call.count > 1 or (axis and part.groups > 1):
        return None
    mine = [(name, stored[name]) for name in (weight, bias) if name in stored]
    if any(_same(tensor, other) for name, tensor in mine for key, other in stored.items() if key != name):
        return None
    vector = ((bias, 0),) if bias in stored else ()
    return UnitForm(constant=((weight, axis),), level=bias if vector else None, scaled=((weight, axis), *vector))


def _folding(path: str, part: nn.Module, stored: Mapping[str, Tensor]) -> str | None:
    """The call that turns a recomputed weight into a stored one, or None if it is one."""
    if parametrize.is_parametrized(part, "weight"):
        return 'torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")'
    for sign, fold in (
        ("weight_mask", 'torch.nn.utils.prune.remove(layer, "weight")'),
        ("weight_orig", "torch.nn.utils.remove_spectral_norm(layer)"),
        ("weight_g", "torch.nn.utils.remove_weight_norm(layer)"),
    ):
        if f"{path}.{sign}" in stored:
            return fold
    return None if f"{path}.weight" in stored else "a parameter called weight that holds it"


def _stored_weight(path: str, part: Any, stored: Mapping[str, Tensor]) -> str:
    """The stored weight, or for a recomputed one the stored tensor of its shape."""
    if f"{path}.weight" in stored:
        return f"{path}.weight"
    inside = [key for key in stored if key.startswith(f"{path}.")]
    return next((key for key in inside if stored[key].shape == part.weight.shape), inside[0])


def _padding(part: Any) -> tuple[int, int] | None:
    """Zeros on each side, height then width; None where the sides differ."""
    padding = getattr(part, "padding", (0, 0))
    if padding == "valid":
        return (0, 0)
    if padding == "same":
        height, width = part.kernel_size
        return (height // 2, width // 2) if height % 2 and width % 2 else None
    return cast(tuple[int, int], tuple(padding))


def _pair(part: Any, attribute: str, default: tuple[int, int]) -> tuple[int, int]:
    return cast(tuple[int, int], tuple(getattr(part, attribute, default)))


def _apply(part: Any, kind: Kind, key: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
    if kind == "linear":
        return F.linear(key, weight, bias)
    if kind == "conv":
        return F.conv2d(key, weight, bias, part.stride, padding)
    return F.conv_transpose2d(key, weight, bias, part.stride, padding, part.output_padding)


def _spread(value: Tensor) -> float:
    return float(value.abs().max())


def _same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.numel() == other.numel() > 0
