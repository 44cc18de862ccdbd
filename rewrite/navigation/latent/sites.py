"""Where a code enters a network: the affine layers that read it as it is, found by running the network.

Nothing here knows an architecture. A site is a module that stores a weight, is called with a code (a row of ws, or z),
and turns out to be affine. Its runtime multipliers (equalised learning rate) are measured, not derived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edits.identity import state
from rewrite import hooks
from rewrite.errors import RewriteError, nearest
from rewrite.generator import MAPPING, Generator

Space = Literal["w", "z"]
"""w is whatever the synthesis takes: in a family without a mapping it is z."""
Layers = Sequence[str]
"""Each the name of a layer or site, or rows of ws as in "4-7" or "0,2-5"; none of them means all."""
DIGITS = 10
"""Of the number of a row: fewer than these."""
SAME = 1e-4
"""Largest difference, relative to the largest value, of what counts as the same computation in single precision."""


@dataclass(frozen=True, eq=False)
class Site:
    """An affine layer that reads a code x (d,): value = weight_gain * W x + bias_gain * b, in stored W and b."""

    name: str
    module: nn.Module
    weight: str
    """Exact name of the stored weight; its axis `in_axis` is the code's."""
    bias: str | None
    shape: tuple[int, ...]
    in_axis: int
    rows: tuple[int, ...]
    """Rows of ws that it reads; empty where there are no rows."""
    weight_gain: float
    bias_gain: float
    trailing: int = 0
    """Axes of size 1 behind those of its input (N, d)."""

    @property
    def width(self) -> int:
        """Numbers of a code."""
        return self.shape[self.in_axis]

    @property
    def out_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(len(self.shape)) if axis != self.in_axis)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of its value for one code: (channels,) for a style, (channels, h, w) where it is a map."""
        return tuple(self.shape[axis] for axis in self.out_axes)

    def matrix(self, tensors: dict[str, Tensor]) -> Tensor:
        """The stored weight as (out, d) float64, without its gain."""
        weight = tensors[self.weight].detach().cpu().double()
        return weight.movedim(self.in_axis, -1).reshape(-1, self.width)


def sites(generator: Generator, space: Space = "w", layers: Layers = ()) -> tuple[Site, ...]:
    """The affine layers that read the code, in the order of the pass, `layers` of them.

    RewriteError, with the reason, where the code is changed before any layer reads it, or where something else than
    such layers reads it too: then no move of the code can be folded into them.
    """
    if space not in ("w", "z"):
        raise RewriteError(f"there is no latent space {space!r}; expected w or z (of styles s, give channels)")
    label = torch.zeros(2, dtype=torch.int64) if generator.classes else None
    z = generator.latents([0, 1])
    with torch.no_grad():
        ws = generator.styles(z, label=label)
        if space == "z" and ws.shape != z.shape:
            found = _found(generator, z, space, lambda code: generator.styles(code, label=label))
        else:
            found = _found(generator, _told_apart(ws), space, lambda code: generator.synthesize(ws=code))
    return _chosen(found, layers) if layers else found


def upstream(generator: Generator, space: Space = "w") -> tuple[str, ...]:
    """Names of the stored tensors that a code depends on: those of the mapping, for w."""
    mapping = [layer for layer in generator.layers.values() if layer.stage == MAPPING] if space == "w" else []
    names = {name for layer in mapping for name in (layer.weight, layer.bias, *layer.upstream) if name}
    return tuple(sorted(names))


def _found(generator: Generator, codes: Tensor, space: Space, run: Callable[[Tensor], Tensor]) -> tuple[Site, ...]:
    result, inputs = _heard(generator.module, run, codes)
    found = []
    for name, given in inputs.items():
        rows = _rows(given, codes)
        if rows is not None and (site := _site(generator, name, given, rows)):
            found.append(site)
    called = generator.name or generator.architecture
    if not found:
        raise RewriteError(f"a move of {space} cannot be folded into {called}: {_why(generator, inputs, codes, run)}")
    with ExitStack() as stack:
        for site in found:
            stack.enter_context(hooks.replace_input(site.module, inputs[site.name]))
        same = _close(run(codes.flip(0)), result)
    if not same:
        raise RewriteError(
            f"a move of {space} cannot be folded into {called}: besides {', '.join(site.name for site in found[:3])} "
            f"something else reads the code that is no affine layer of it; use a method of parameter space"
        )
    return tuple(found)


def _heard(module: nn.Module, run: Callable[[Tensor], Tensor], codes: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What a run returns, and the first input of each module that stores a weight, in the order of the calls."""
    inputs: dict[str, Tensor] = {}

    def hear(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, given: tuple[Any, ...]) -> None:
            if given and isinstance(given[0], Tensor):
                inputs.setdefault(name, given[0].clone())

        return hook

    storing = {name: part for name, part in module.named_modules() if part._parameters.get("weight") is not None}
    handles = [part.register_forward_pre_hook(hear(name)) for name, part in storing.items()]
    try:
        return run(codes), inputs
    finally:
        for handle in handles:
            handle.remove()


def _rows(given: Tensor, codes: Tensor) -> tuple[int, ...] | None:
    """The rows of the codes (N, rows, d) that this input is; () of codes (N, d) that it is; None if it is neither."""
    if given.numel() != len(codes) * codes.shape[-1] or given.shape[0] != len(codes):
        return None
    flat = given.flatten(1)
    if codes.ndim == 2:
        return () if torch.equal(flat, codes) else None
    rows = tuple(row for row in range(codes.shape[1]) if torch.equal(flat, codes[:, row]))
    return rows or None


def _site(generator: Generator, name: str, given: Tensor, rows: tuple[int, ...]) -> Site | None:
    """The site of a module that was called with a code, if what it does with it is affine."""
    module = generator.module.get_submodule(name)
    weight = module.get_parameter("weight")
    bias = module._parameters.get("bias")
    prefix = f"{name}." if name else ""
    layers = {layer.weight: layer for layer in generator.layers.values()}
    in_axis = layers[f"{prefix}weight"].in_axis if f"{prefix}weight" in layers else weight.ndim - 1
    if weight.shape[in_axis] != given.flatten(1).shape[1]:
        return None

    def called(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        stored = {"weight": weight} | ({} if bias is None else {"bias": bias})
        value: Tensor = torch.func.functional_call(module, stored, (x,))
        return value.flatten(1)

    none = None if bias is None else torch.zeros_like(bias)
    unit = torch.zeros_like(given[:1].flatten(1))
    unit[:, 0] = 1
    unit = unit.reshape_as(given[:1])
    weight_gain = float(called(unit, torch.ones_like(weight), none)[0, 0])
    bias_gain = 1.0 if bias is None else float(called(unit, torch.zeros_like(weight), torch.ones_like(bias))[0, 0])
    site = Site(
        name, module, f"{prefix}weight", None if bias is None else f"{prefix}bias", tuple(weight.shape), in_axis, rows,
        weight_gain, bias_gain, given.ndim - 2,
    )  # fmt: skip
    linear = given.flatten(1) @ (weight.movedim(in_axis, -1).reshape(-1, site.width).T * weight_gain)
    actual = called(given, weight, none)
    return site if actual.shape == linear.shape and _close(actual, linear) else None


def _why(generator: Generator, inputs: dict[str, Tensor], codes: Tensor, run: Callable[[Tensor], Tensor]) -> str:
    _, doubled = _heard(generator.module, run, codes * 2)
    first = next(iter(inputs), None)
    if first is not None and _close(doubled[first], inputs[first]):
        what = "move w instead" if generator.layers[next(iter(generator.layers))].stage == MAPPING else (
            "use a method of parameter space"
        )  # fmt: skip
        return f"it is normalised before {first} reads it, so a step of the code is no step of what is read; {what}"
    return "no affine layer reads the code as it is; use a method of parameter space"


def _told_apart(ws: Tensor) -> Tensor:
    """Styles (N, rows, w) with each row a little different, so that it shows which of them is read."""
    if ws.ndim == 2:
        return ws
    rows = torch.arange(ws.shape[1], dtype=ws.dtype, device=ws.device)
    return ws * (1 + rows[:, None] / 64)


def _close(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= SAME * max(float(other.abs().max()), 1e-12)


def _chosen(found: Sequence[Site], layers: Sequence[str]) -> tuple[Site, ...]:
    chosen: set[str] = set()
    most = max((row for site in found for row in site.rows), default=-1)
    for wanted in layers:
        if wanted[:1].isdecimal():
            rows = _numbers(wanted, most)
            chosen |= {site.name for site in found if rows & set(site.rows)}
        else:
            inside = {site.name for site in found if f"{site.name}.".startswith(f"{wanted}.")}
            if not inside:
                raise RewriteError(
                    f"no code is read in {wanted!r}; nearest: {nearest(wanted, [site.name for site in found])}"
                )
            chosen |= inside
    return tuple(site for site in found if site.name in chosen)


def _numbers(text: str, most: int) -> set[int]:
    """The rows that it names, of those from 0 to `most`."""
    numbers: set[int] = set()
    for part in text.split(","):
        start, dash, stop = part.strip().partition("-")
        ends = [start, stop] if dash else [start]
        if not all(end.isdecimal() and len(end) < DIGITS for end in ends) or int(ends[-1]) < int(start):
            raise RewriteError(f"layers is {text!r}; expected rows of ws as in 4-7 or 0,2-5, or names of sites")
        if int(ends[-1]) > most:
            known = f"rows 0 to {most} of ws" if most >= 0 else "names, as all layers read one code"
            raise RewriteError(f"layers {text!r} are not all there; expected {known}")
        numbers |= set(range(int(start), int(ends[-1]) + 1))
    return numbers


def parameters(found: Iterable[Site], generator: Generator) -> dict[str, Tensor]:
    """The stored tensors of these sites by name."""
    tensors = state(generator.module)
    names = [name for site in found for name in (site.weight, site.bias) if name]
    return {name: tensors[name] for name in names}
