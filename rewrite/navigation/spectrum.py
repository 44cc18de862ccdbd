"""Singular pairs of a kernel: directions for nothing (Cherepkov et al. 2021, section 3.1)."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from edits import Add, Dense, LowRank
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.memory import canonical, style_of
from rewrite.navigation.direction import Found, kernel_edit, short
from rewrite.navigation.hessian import KEYS, STEP, layer_of
from rewrite.navigation.methods import Options, only
from rewrite.navigation.subspace import steerable, stored


def spectrum(generator: Generator, options: Options) -> list[Found]:
    """The first `count` pairs u v' of the kernel as a matrix (out, in and kernel), largest singular value first.

    Where a layer is demodulated, the part of a change along each filter itself is invisible, for its gain divides it
    out; it is removed in the mean over styles, so that gains stay as they are to first order. Such a change is dense;
    others have rank one.
    """
    only(options)
    layer = layer_of(generator, options)
    steerable(layer)
    weight = canonical(layer, generator.module.state_dict()[layer.weight]) / layer.scale
    left, values, right = torch.linalg.svd(rearrange(weight, "o i h w -> o (i h w)"), full_matrices=False)
    if not 1 <= options.count <= len(values):
        raise RewriteError(
            f"{options.count} directions were asked of layer {layer.name}, whose kernel has {len(values)} singular "
            f"pairs; ask for 1 to {len(values)}"
        )
    energy = None if layer.gain is None else _style_energy(generator, layer, options)
    made, size = [], STEP * float(weight.norm())
    for i in range(options.count):
        v = rearrange(right[i], "(i h w) -> i h w", h=weight.shape[2], w=weight.shape[3])
        facts = {"singular_value": short(float(values[i])), "share": short(float(values[i] / values.norm()) ** 2)}
        operation = _operation(layer, left[:, i], v, weight, energy, size)
        edit = kernel_edit(generator, layer, operation, facts={"direction": facts})
        made.append(Found(edit, f"spectrum {layer.name} {i}", facts))
    return made


def radial_free(change: Tensor, weight: Tensor, energy: Tensor) -> Tensor:
    """A canonical change (out, in, h, w) less its part along each filter, in lengths weighed by E[s^2] (in)."""
    weighed = weight * energy[:, None, None]
    along = (change * weighed).sum((1, 2, 3)) / (weight * weighed).sum((1, 2, 3)).clamp(min=1e-30)
    return change - along[:, None, None, None] * weight


def _operation(layer: Layer, u: Tensor, v: Tensor, weight: Tensor, energy: Tensor | None, size: float) -> Add:
    sign = torch.sign(v.flatten()[v.abs().argmax()])
    u, v = u * sign, v * sign
    change = torch.einsum("o,ihw->oihw", u, v)
    if energy is not None:
        change = radial_free(change, weight, energy)
        return Add(layer.shape, Dense(stored(layer, change * (size / change.norm())).float().contiguous()))
    rest = tuple(axis for axis in range(len(layer.shape)) if axis not in (layer.out_axis, layer.in_axis))
    rest = tuple(axis for axis in rest if axis not in layer.kernel_axes)
    return Add(layer.shape, LowRank(
        (u * size)[:, None].float(), v.flatten()[None].float(),
        left_axes=(layer.out_axis, *rest), right_axes=(layer.in_axis, *layer.kernel_axes),
    ))  # fmt: skip


def _style_energy(generator: Generator, layer: Layer, options: Options) -> Tensor:
    """E[s^2] (in), over seeds."""
    total = torch.zeros(layer.in_features, dtype=torch.float64)
    seeds = range(min(options.latents, KEYS))
    with torch.no_grad():
        for seed in seeds:
            ws = generator.styles(generator.latents([seed]), truncation=options.truncation)
            style = style_of(generator.run_to(layer, ws=ws, noise=options.noise))
            total += torch.ones_like(total) if style is None else style[0].square()
    return total / len(seeds)
