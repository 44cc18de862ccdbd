"""Edits whose strengths differ from image to image, without touching weights: strips, sliders, sweeps.

A change of low rank answers at its layer, conv(k, W + a L D) = conv(k, W) + a conv(D k, L), with a strength a for each
image. Where the layer demodulates, the network divides by the norm of W; the quotient of that norm and the edited
weight's, which is a quadratic in a, is multiplied in (Bau et al. 2020; Karras et al. 2020, equation 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from edits import Add, Edit, LowRank, clash, fit, identity, materialise
from rewrite.errors import RewriteError
from rewrite.generator import NO_PLACES, Generator, Labels, Layer, Noise
from rewrite.memory import Change, canonical, maps, respond

Strengths = float | Sequence[float] | Tensor
"""One for all images, or (N,), one for each image of a batch."""

INSTEAD = "apply it to the weights, at one strength at a time"
CHUNK = 16
"""Ranks whose share of the norm is computed at once."""


class Live:
    """Edits that answer at their layers. Made by `applied`."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._edits: dict[str, Edit] = {}
        self._strengths: dict[str, Tensor] = {}

    @property
    def contents(self) -> tuple[tuple[Edit, Tensor], ...]:
        """The edits and their strengths, (N,) or (1,)."""
        return tuple((edit, self._strengths[content]) for content, edit in self._edits.items())

    def set_strength(self, edit: Edit | str, strengths: Strengths) -> None:
        """Give an edit (or its content digest) other strengths, from the next pass on."""
        content = edit if isinstance(edit, str) else edit.content
        if content not in self._edits:
            raise RewriteError(f"edit {content[:12]} is not live; there are {list(self._edits) or 'none'}")
        self._strengths[content] = _checked(strengths)

    def _amounts(self, parts: Sequence[_Part], images: int) -> Tensor:
        """Strengths (N, rank) float64 of the factors of some parts."""
        columns = []
        for part in parts:
            strengths = self._strengths[part.edit]
            if len(strengths) not in (1, images):
                raise RewriteError(
                    f"edit {part.edit[:12]} has {len(strengths)} strengths and the batch has {images} images; give one "
                    f"for each image, or one for all"
                )
            columns.append((strengths * part.coefficient).expand(images)[:, None].expand(-1, part.change.rank))
        return torch.cat(columns, dim=1)


@contextmanager
def applied(generator: Generator, *pairs: tuple[Edit, Strengths | None], force: bool = False) -> Iterator[Live]:
    """Edits for the length of a block, each with strengths of its own for each image of a batch; None is its default.

    Images are those of the weights that `edits.applied` would make, but for rounding. The edits are judged as there:
    RewriteError or EditError for another base (unless `force`), an edit that is there twice, and for what has no
    response at a layer: a scale, a set, or a change of something else than a layer's weight.
    """
    live, look = Live(generator), identity.Look(identity.state(generator.module))
    parts: dict[str, list[_Part]] = {}
    plan: dict[str, list[materialise.Change]] = {}
    seen: set[str] = set()
    for edit, strengths in pairs:
        fit.check(edit, look, force=force, stacklevel=4)
        for member, coefficient in edit.parts(1.0):
            if member.content in seen:
                raise RewriteError(f"edit {member.content[:12]} is there twice; give it the sum of its strengths")
            seen.add(member.content)
            for name, found in _responses(generator, member).items():
                parts.setdefault(name, []).extend(_Part(edit.content, coefficient, change) for change in found)
        for name, changes in materialise.changes(edit, 1.0).items():
            plan.setdefault(name, []).extend(changes)
        live._edits[edit.content] = edit
        live.set_strength(edit, edit.strength if strengths is None else strengths)
    clash.check(plan)
    layers = {layer.weight: layer for layer in generator.layers.values()}
    responses = [_Response(live, layers[name], tuple(found)) for name, found in parts.items()]
    handles: list[Any] = []
    try:
        for response in responses:
            response.attach(handles)
        yield live
    finally:
        for handle in handles:
            handle.remove()


def strip(
    generator: Generator,
    edit: Edit,
    strengths: Strengths,
    z: Tensor,
    *,
    truncation: float = 1.0,
    noise: Noise = "const",
    label: Labels | None = None,
    force: bool = False,
) -> Tensor:
    """Images (A, 3, H, W) of one latent z (1, z) at each of A strengths, in one pass; RewriteError as `applied`."""
    amounts = _checked(strengths)
    if len(z) != 1:
        raise RewriteError(f"a strip is of one latent, and there are {len(z)}; give z of shape (1, z)")
    with torch.no_grad(), applied(generator, (edit, amounts), force=force):
        ws = generator.styles(z.expand(len(amounts), -1), truncation=truncation, label=label)
        return generator.synthesize(ws=ws, noise=noise)


@dataclass(frozen=True)
class _Part:
    """One operation of an edit, or of a member of it."""

    edit: str
    coefficient: float
    change: Change


class _Response:
    """The forward hook of one layer."""

    def __init__(self, live: Live, layer: Layer, parts: tuple[_Part, ...]) -> None:
        self.live, self.layer, self.parts = live, layer, parts
        self.change = Change(
            torch.cat([part.change.response for part in parts], dim=1),
            torch.cat([part.change.context for part in parts]),
        )
        self.style: Tensor | None = None

    def attach(self, handles: list[Any]) -> None:
        """Register the hooks; RewriteError if the layer answers to another block already."""
        module, gain = self.layer.module, self.layer.gain
        if any(isinstance(hook, _Response) for hook in module._forward_hooks.values()):
            raise RewriteError(f"{self.layer.name} has live edits already; give all of them to one block")
        handles.append(module.register_forward_hook(self))
        if gain is not None:
            handles.append(gain.style.register_forward_hook(self._saw))

    def __call__(self, _module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        key = inputs[0]
        amounts = self.live._amounts(self.parts, len(key))
        if not amounts.any():
            return output
        here = {"device": key.device, "dtype": torch.float32}
        read = torch.einsum("ri,nihw->nrhw", self.change.context.to(**here), maps(key).float())
        shift = respond(self.layer, read * amounts.to(**here)[:, :, None, None], self.change.response.to(**here))
        value = output + shift.reshape(len(key), *output.shape[1:]).to(output)
        if self.layer.gain is None or self.style is None:
            return value
        quotient = gain_quotient(self.layer, self._weight(), self.style.double().cpu(), amounts, self.change)
        return value * quotient[:, :, None, None].to(value)

    def _saw(self, _module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        self.style = output

    def _weight(self) -> Tensor:
        # Looked up anew: it is what the network divides by, whatever has become of it meanwhile.
        return canonical(self.layer, self.live.generator.module.get_parameter(self.layer.weight))


def gain_quotient(layer: Layer, weight: Tensor, style: Tensor, amounts: Tensor, change: Change) -> Tensor:
    """Gain of W + sum_r a_r L_r D_r over the gain of W, per image and output channel (N, out).

    `weight` is canonical, `style` (N, in), `amounts` (N, rank) the a of each image, all float64 on the CPU.
    ||s (.) (W + dW)_o||^2 is expanded, so that no weight of an image is ever made.
    """
    if layer.gain is None:
        raise RewriteError(f"{layer.name} has no gain; there is nothing to compare")
    square, context, response = style**2, change.context, change.response
    before = square @ (weight**2).sum((2, 3)).T + layer.gain.eps
    after = before.clone()
    for ranks in torch.arange(change.rank).split(CHUNK):
        some = response[:, ranks]
        read = amounts[:, ranks, None] * context[ranks] * square[:, None]
        crossed = torch.einsum("oqhw,oihw->oqi", some, weight)
        after += 2 * torch.einsum("nqi,oqi->no", read, crossed)
        overlap = torch.einsum("nqi,pi->nqp", read, context) * amounts[:, None]
        after += torch.einsum("nqp,oqp->no", overlap, torch.einsum("oqhw,ophw->oqp", some, response))
    return (before / after.clamp_min(layer.gain.eps)).sqrt()


def _checked(strengths: Strengths) -> Tensor:
    amounts = torch.as_tensor(strengths, dtype=torch.float64).cpu().reshape(-1)
    if not len(amounts) or not amounts.isfinite().all():
        raise RewriteError(f"the strengths are {strengths}; expected a finite number, or one for each image")
    return amounts


def _responses(generator: Generator, member: Edit) -> dict[str, list[Change]]:
    """By name of the weight, what each operation of an edit answers with."""
    layers, found = {layer.weight: layer for layer in generator.layers.values()}, {}
    for name, operations in member.operations.items():
        for operation in operations:
            if not isinstance(operation, Add):
                raise RewriteError(
                    f"edit {member.content[:12]} has a {operation.kind} of {name}: it acts on the weight that all adds "
                    f"together make, so it has no response of its own to sum; {INSTEAD}"
                )
        if name not in layers:
            raise RewriteError(
                f"edit {member.content[:12]} changes {name}, which is no layer's weight, so there is no layer where it "
                f"answers; {INSTEAD}"
            )
        if layers[name].refuses not in (None, NO_PLACES):
            raise RewriteError(f"edit {member.content[:12]} cannot be live at {name}: {layers[name].refuses}")
        found[name] = [_change(layers[name], operation) for operation in operations if isinstance(operation, Add)]
    return found


def _change(layer: Layer, add: Add) -> Change:
    """The operation in canonical factors: exactly, with as few ranks as its own factors allow."""
    form = add.form
    if isinstance(form, LowRank):
        left, right = (_spread(layer, *side) for side in ((form.left, form.left_axes), (form.right.T, form.right_axes)))
        for one, other in ((left, right), (right, left)):
            if one.shape[1] == 1 and other.shape[0] == 1 and other.shape[2:4] == (1, 1):
                # A rule: the kernel on the output side.
                return Change(rearrange(one * layer.scale, "o 1 h w r -> o r h w"), other[0, :, 0, 0].T)
            if one.shape[1:4] == (1, 1, 1) and other.shape[0] == 1 and other[0, 0].numel() < other.shape[1]:
                return _turned(one[:, 0, 0, 0] * layer.scale, other[0])
    every = torch.eye(layer.in_features, dtype=torch.float64)
    return Change(canonical(layer, _dense(add)), every)


def _turned(left: Tensor, right: Tensor) -> Change:
    """LoRA factors, (out, r) and (in, height, width, r) with the kernel on the input side, as response and context."""
    height, width = right.shape[1:3]
    taps = torch.eye(height * width, dtype=torch.float64).reshape(height * width, height, width)
    response = torch.einsum("or,thw->orthw", left, taps)
    return Change(rearrange(response, "o r t h w -> o (r t) h w"), rearrange(right, "i h w r -> (r h w) i"))


def _spread(layer: Layer, factor: Tensor, axes: Sequence[int]) -> Tensor:
    """A factor (rows, r) over axes of the stored tensor as (out, in, height, width, r), 1 for axes that it lacks."""
    order = (layer.out_axis, layer.in_axis, *layer.kernel_axes)
    own = sorted(range(len(axes)), key=lambda i: order.index(axes[i]) if axes[i] in order else len(order))
    folded = factor.double().reshape(*(layer.shape[axis] for axis in axes), -1).permute(*own, len(axes))
    sizes = [layer.shape[axis] if axis in axes else 1 for axis in order]
    return folded.reshape(*sizes, *[1] * (4 - len(order)), factor.shape[1])


def _dense(add: Add) -> Tensor:
    """dW in the axes of the stored tensor, float64."""
    made = torch.zeros(add.shape, dtype=torch.float64)
    return materialise.materialise(made, [materialise.Change("", "", 0, 1.0, add)])


__all__ = ["Live", "Strengths", "applied", "gain_quotient", "strip"]
