"""Parity mode: the published method, dense projected gradient descent, kept as the reference we measure against.

Bau et al. 2020, "Rewriting a Deep Generative Model", and the constants of its code: L1 loss on the tight paste
rectangle, Adam at 0.05 in units of the weight's own spread, 2,001 steps, the weight projected every tenth step to
W_perp + proj_D(W). The loss is on the value after gain, before noise, bias and activation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rewrite.generator import Layer
from rewrite.memory import Change, maps
from rewrite.progress import Progress, quiet
from rewrite.regions import bounds
from rewrite.rules.placement import Placed

PROJECT_EVERY = 10
LEARNING_RATE = 0.05


def descend(
    layer: Layer,
    weight: Tensor,
    placed: Sequence[Placed],
    context: Tensor,
    *,
    steps: int,
    progress: Progress = quiet,
) -> Change:
    """The change that the published descent ends with, from canonical `weight` and context D (rank, in)."""
    base, directions = weight.float(), context.float()
    edited = base.clone().requires_grad_()
    losses = [_loss(layer, example) for example in placed]
    optimiser = torch.optim.Adam([edited], lr=LEARNING_RATE * float(base.std()))
    for step in range(steps):
        if step % 50 == 0:
            progress(f"descent on {layer.name}", step, steps)
        optimiser.zero_grad()
        torch.stack([loss(edited) for loss in losses]).mean().backward()
        optimiser.step()
        if step % PROJECT_EVERY == 0 or step == steps - 1:
            with torch.no_grad():
                edited.copy_(base + _project(edited - base, directions))
    progress(f"descent on {layer.name}", steps, steps)
    moved = (edited.detach() - base).double()
    return Change(torch.einsum("oihw,ri->orhw", moved, context), context)


def _loss(layer: Layer, placed: Placed) -> Callable[[Tensor], Tensor]:
    """Mean |v* - f(k; W)| over the object's rectangle, the object blended in by its coverage."""
    top, left, bottom, right = rectangle = bounds(placed.where)
    cut = (..., slice(top, bottom), slice(left, right))
    blend = placed.where[cut]
    wanted = (placed.value[cut] * (1 - blend) + placed.wanted[cut] * blend).float()
    respond = rectangle_response(layer, placed.key.float(), rectangle)

    def loss(edited: Tensor) -> Tensor:
        made = respond(edited)[0]
        if layer.gain is not None and placed.style is not None and placed.gain is not None:
            square = (edited**2).sum((2, 3))
            now = (placed.style.float() ** 2 @ square.T + layer.gain.eps).rsqrt()
            made = made * (now / placed.gain.float())[0, :, None, None]
        return (made - wanted).abs().mean()

    return loss


def rectangle_response(layer: Layer, key: Tensor, rectangle: tuple[int, int, int, int]) -> Callable[[Tensor], Tensor]:
    """The layer's value on a rectangle (top, left, bottom, right) of output cells alone, as a function of its weight.

    Only the keys that the rectangle reads are kept, true neighbours included.
    """
    top, left, bottom, right = rectangle
    key = maps(key)
    (y0, y1), (x0, x1) = (
        _reach(layer, axis, start, stop) for axis, (start, stop) in enumerate([(top, bottom), (left, right)])
    )
    height, width = key.shape[-2:]
    cut = key[:, :, max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    cut = F.pad(cut, (max(-x0, 0), max(x1 - width, 0), max(-y0, 0), max(y1 - height, 0)))
    if not layer.transposed:
        return lambda weight: F.conv2d(cut, weight, None, layer.stride)
    skip_y = top - (y0 * layer.stride[0] - layer.padding[0])
    skip_x = left - (x0 * layer.stride[1] - layer.padding[1])

    def spread(weight: Tensor) -> Tensor:
        full = F.conv_transpose2d(cut, weight.transpose(0, 1), None, layer.stride)
        return full[:, :, skip_y : skip_y + bottom - top, skip_x : skip_x + right - left]

    return spread


def _reach(layer: Layer, axis: int, start: int, stop: int) -> tuple[int, int]:
    """First and last (exclusive) key index, padding included, that output cells start to stop read."""
    kernel, stride, padding = layer.kernel[axis], layer.stride[axis], layer.padding[axis]
    if layer.transposed:
        return -((kernel - 1 - padding - start) // stride), (stop - 1 + padding) // stride + 1
    return start * stride - padding, (stop - 1) * stride - padding + kernel


def _project(moved: Tensor, directions: Tensor) -> Tensor:
    return torch.einsum("oihw,ri,rj->ojhw", moved, directions, directions)
