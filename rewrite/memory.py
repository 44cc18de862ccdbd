"""A layer as linear associative memory: keys in, values out, and its response to a change of weights.

Weights here are *canonical*: (out, in, kernel height, kernel width) float64, with the layer's runtime scale multiplied
in, whatever the axes of the stored tensor. A key patch is (tap, in): the key under each of the kernel's taps.
(Bau et al. 2020, "Rewriting a Deep Generative Model", section 3.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from edits import Add, LowRank
from rewrite.errors import RewriteError
from rewrite.generator import Layer, State
from rewrite.stats import Lag, SecondMoments


@dataclass(frozen=True)
class Change:
    """A low-rank change of a layer's canonical weight: dW = response . context.

    `response` L is (out, rank, kernel height, kernel width), `context` D is (rank, in), both float64.
    """

    response: Tensor
    context: Tensor

    @property
    def rank(self) -> int:
        return self.context.shape[0]

    def dense(self) -> Tensor:
        """dW as a canonical weight."""
        return torch.einsum("orhw,ri->oihw", self.response, self.context)

    def scaled(self, amount: float) -> Change:
        return Change(self.response * amount, self.context)

    def rounded(self) -> Change:
        """As it will be stored: both factors in float32."""
        return Change(self.response.float().double(), self.context.float().double())


def check_editable(layer: Layer) -> None:
    """RewriteError, with the reason, for a layer that a rule cannot edit."""
    if layer.refuses:
        raise RewriteError(f"a rule cannot edit layer {layer.name}: {layer.refuses}")


def canonical(layer: Layer, stored: Tensor) -> Tensor:
    """The stored weight as (out, in, kernel height, kernel width) float64, runtime scale included."""
    axes = (layer.out_axis, layer.in_axis, *layer.kernel_axes)
    rest = [axis for axis in range(stored.ndim) if axis not in axes]
    weight = stored.detach().cpu().double().permute(*axes, *rest)
    return weight.reshape(layer.out_features, layer.in_features, *layer.kernel) * layer.scale


def as_operation(layer: Layer, change: Change) -> Add:
    """The change as an operation on the stored tensor: the kernel on the output side, float32 factors."""
    own = (layer.out_axis, *layer.kernel_axes)
    rest = tuple(axis for axis in range(len(layer.shape)) if axis not in (*own, layer.in_axis))
    left = rearrange(change.response / layer.scale, "o r h w -> (o h w) r")
    return Add(
        layer.shape,
        LowRank(left.float(), change.context.float(), left_axes=own + rest, right_axes=(layer.in_axis,)),
    )


def maps(key: Tensor) -> Tensor:
    """Keys as maps (N, in, H, W); a linear layer's keys (N, in) are maps of one cell."""
    return key[:, :, None, None] if key.ndim == 2 else key


def respond(layer: Layer, key: Tensor, weight: Tensor) -> Tensor:
    """The value maps (N, out, H, W) of `key` under a canonical weight: before gain, noise, bias and activation."""
    key, weight = maps(key), weight.to(key)
    if layer.transposed:
        return F.conv_transpose2d(key, weight.transpose(0, 1), None, layer.stride, layer.padding, layer.output_padding)
    return F.conv2d(key, weight, None, layer.stride, layer.padding)


def gain(layer: Layer, weight: Tensor, style: Tensor | None) -> Tensor | None:
    """Demodulation per image and output channel (N, out) of a canonical weight, or None where the layer has none."""
    if layer.gain is None or style is None:
        return None
    square = (weight**2).sum((2, 3))
    return (style.double().cpu() ** 2 @ square.T + layer.gain.eps).rsqrt()


def patches(layer: Layer, key: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    """The key under each kernel tap at output cells (ys, xs) of one map (1, in, H, W): (P, taps, in) float64.

    A tap that falls on padding, or between the cells of a transposed convolution, reads zero.
    """
    key = maps(key)[0].detach().cpu().double()
    height, width = key.shape[-2:]
    taken = []
    for tap_y, tap_x in _taps(layer):
        rows, row_hits = _source(layer, ys, tap_y, 0, height)
        columns, column_hits = _source(layer, xs, tap_x, 1, width)
        taken.append(key[:, rows, columns] * (row_hits & column_hits))
    return rearrange(taken, "tap i p -> p tap i")


def lag_reach(layer: Layer) -> Lag:
    """Largest lag, in key cells, between two taps that reach the same output cell."""
    step = layer.stride if layer.transposed else (1, 1)
    height, width = layer.kernel
    return (height - 1) // step[0], (width - 1) // step[1]


def expected_patches(layer: Layer, moments: SecondMoments, context: Tensor | None, eps: float) -> Tensor:
    """E[u u'] over output cells, (taps.rank, taps.rank): u the patch of D k, or of k itself where context is None.

    C_0 is taken with eps . tr(C_0)/d added to its diagonal.
    """
    shared = {lag: _through(context, matrix) for lag, matrix in _regular(moments, eps).items()}
    taps = list(_taps(layer))
    size = next(iter(shared.values())).shape[0]
    blocks = torch.zeros(len(taps), size, len(taps), size, dtype=torch.float64)
    for (a, b), lag in _lags(layer):
        matrix = shared[lag] if lag in shared else shared[-lag[0], -lag[1]].T
        blocks[a, :, b, :] = matrix
    return rearrange(blocks, "a r b q -> (a r) (b q)") / _cells_per_key(layer)


def expected_energy(layer: Layer, moments: SecondMoments, weight: Tensor) -> float:
    """E || conv(k, W) ||^2 per output cell of a canonical weight, by the moments alone."""
    flat = rearrange(weight, "o i h w -> (h w) o i")
    total = 0.0
    for (a, b), lag in _lags(layer):
        if lag >= (0, 0):  # a pair at -lag adds what its twin at lag does
            part = float(((flat[a] @ moments.at(lag)) * flat[b]).sum())
            total += part if lag == (0, 0) else 2 * part
    return total / _cells_per_key(layer)


def change_energy(layer: Layer, moments: SecondMoments, change: Change) -> float:
    """E || conv(D k, L) ||^2 per output cell, far from the map's border: what the change does everywhere."""
    gram = expected_patches(layer, moments, change.context, 0.0)
    flat = rearrange(change.response, "o r h w -> o (h w r)")
    return float(((flat @ gram) * flat).sum())


def style_of(state: State) -> Tensor | None:
    """The modulation (N, in) of a held forward pass, on the CPU in float64, or None."""
    return None if state.style is None else state.style.detach().cpu().double()


def _taps(layer: Layer) -> Iterator[tuple[int, int]]:
    height, width = layer.kernel
    return ((y, x) for y in range(height) for x in range(width))


def _lags(layer: Layer) -> Iterator[tuple[tuple[int, int], Lag]]:
    """Pairs of taps that reach the same output cell, with the lag from the first one's key cell to the second's."""
    taps = list(_taps(layer))
    for a, (ay, ax) in enumerate(taps):
        for b, (by, bx) in enumerate(taps):
            if not layer.transposed:
                yield (a, b), (by - ay, bx - ax)
            elif (ay - by) % layer.stride[0] == 0 and (ax - bx) % layer.stride[1] == 0:
                yield (a, b), ((ay - by) // layer.stride[0], (ax - bx) // layer.stride[1])


def _cells_per_key(layer: Layer) -> int:
    """Output cells for each key cell: a transposed convolution spreads a pair of taps over stride^2 of them."""
    return math.prod(layer.stride) if layer.transposed else 1


def _source(layer: Layer, cells: Tensor, tap: int, axis: int, size: int) -> tuple[Tensor, Tensor]:
    """Key index under `tap` of each output cell, clamped, and whether there is a key cell there at all."""
    stride, padding = layer.stride[axis], layer.padding[axis]
    if layer.transposed:
        offset = cells + padding - tap
        index, hits = offset.div(stride, rounding_mode="floor"), offset % stride == 0
    else:
        index, hits = cells * stride - padding + tap, torch.ones_like(cells, dtype=torch.bool)
    inside = hits & (index >= 0) & (index < size)
    return index.clamp(0, size - 1), inside


def _regular(moments: SecondMoments, eps: float) -> dict[Lag, Tensor]:
    matrices = {lag: moments.at(lag) for lag, _ in moments}
    centre = matrices[0, 0]
    ridge = eps * centre.diagonal().mean()
    matrices[0, 0] = centre + ridge * torch.eye(centre.shape[0], dtype=centre.dtype)
    return matrices


def _through(context: Tensor | None, matrix: Tensor) -> Tensor:
    return matrix if context is None else context @ matrix @ context.T
