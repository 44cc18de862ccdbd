"""Moves of a code, and what each is in weights: the same change, before an affine layer or in it.

A move of the input x of a site is affine, x + a (left right x + offset); a move of its output, a style s, is of single
channels. Each can be had both ways: `at` moves the numbers in the pass, `operations` are the change of the stored
tensors (StyleGAN2 names: x = w, the site is a style's affine layer; for SNGAN and DCGAN x = z and the first layer).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from edits import Add, Dense, LowRank, Scale, Slices
from edits.operations import Operation
from rewrite.errors import RewriteError
from rewrite.navigation.latent.sites import Site

Operations = dict[str, tuple[Operation, ...]]
"""By the exact name of a stored tensor."""
HELD = 1e-5
"""Largest share of an offset that may be lost in a bias of one number a channel."""


class Change(Protocol):
    """What can be done to a site's input or output, at any strength from 0 to 1 at least."""

    @property
    def side(self) -> Literal["input", "output"]: ...

    def at(self, x: Tensor, strength: float) -> Tensor:
        """The site's input or output x (N, d, ...) moved."""
        ...

    def operations(self, site: Site, tensors: dict[str, Tensor]) -> Operations:
        """The same in the site's stored tensors; RewriteError, with the reason, where they cannot hold it."""
        ...


@dataclass(frozen=True, eq=False)
class Move:
    """x + a (left right x + offset): x (d,), `left` (d, r), `right` (r, d), `offset` (d,), float64.

    `projective` marks a move *to* a place: two of them go together only where they are orthogonal.
    """

    side: ClassVar[Literal["input"]] = "input"
    offset: Tensor | None = None
    left: Tensor | None = None
    right: Tensor | None = None
    projective: bool = False

    def at(self, x: Tensor, strength: float) -> Tensor:
        step = torch.zeros_like(x)
        if self.left is not None and self.right is not None:
            read = torch.einsum("nd...,rd->nr...", x, self.right.to(x))
            step = step + torch.einsum("nr...,dr->nd...", read, self.left.to(x))
        if self.offset is not None:
            step = step + self.offset.to(x).reshape(1, -1, *[1] * (x.ndim - 2))
        return x + strength * step

    def operations(self, site: Site, tensors: dict[str, Tensor]) -> Operations:
        matrix, made = site.matrix(tensors), Operations()
        if self.left is not None and self.right is not None:
            form = LowRank(
                (matrix @ self.left).float(), self.right.float(), left_axes=site.out_axes, right_axes=(site.in_axis,)
            )
            made[site.weight] = (Add(site.shape, form, projective="right" if self.projective else None),)
        if self.offset is not None:
            made |= _offset(site, tensors, matrix @ self.offset)
        return made


@dataclass(frozen=True, eq=False)
class ChannelShift:
    """s_c + a * by_c for the channels c of a style."""

    side: ClassVar[Literal["output"]] = "output"
    channels: tuple[int, ...]
    by: Tensor

    def at(self, x: Tensor, strength: float) -> Tensor:
        moved = x.clone()
        moved[:, list(self.channels)] += strength * self.by.to(x)
        return moved

    def operations(self, site: Site, tensors: dict[str, Tensor]) -> Operations:  # noqa: ARG002
        index, bias = _index(site, self.channels), _bias(site)
        return {bias: (Add(site.out_shape, Slices(0, index, (self.by / site.bias_gain).float())),)}


@dataclass(frozen=True, eq=False)
class ChannelScale:
    """s_c * (1 + a (factor_c - 1)) for the channels c of a style, for a strength a from 0 to 1."""

    side: ClassVar[Literal["output"]] = "output"
    channels: tuple[int, ...]
    factors: Tensor

    def at(self, x: Tensor, strength: float) -> Tensor:
        moved = x.clone()
        moved[:, list(self.channels)] *= 1 + strength * (self.factors.to(x) - 1)
        return moved

    def operations(self, site: Site, tensors: dict[str, Tensor]) -> Operations:  # noqa: ARG002
        index, bias, factors = _index(site, self.channels), _bias(site), self.factors.float()
        return {
            site.weight: (Scale(site.shape, _channel_axis(site), index, factors),),
            bias: (Scale(site.out_shape, 0, index, factors),),
        }


@dataclass(frozen=True, eq=False)
class ChannelSet:
    """s_c + a * (to_c - s_c) for the channels c of a style: at strength 1 they are `to`, whatever the code."""

    side: ClassVar[Literal["output"]] = "output"
    channels: tuple[int, ...]
    to: Tensor

    def at(self, x: Tensor, strength: float) -> Tensor:
        moved = x.clone()
        chosen = x[:, list(self.channels)]
        moved[:, list(self.channels)] = chosen + strength * (self.to.to(x) - chosen)
        return moved

    def operations(self, site: Site, tensors: dict[str, Tensor]) -> Operations:
        index, bias, axis = _index(site, self.channels), _bias(site), _channel_axis(site)
        rows = tensors[site.weight].detach().cpu().float().index_select(axis, index)
        offset = self.to / site.bias_gain - tensors[bias].detach().cpu().double()[index]
        return {
            site.weight: (Add(site.shape, Slices(axis, index, -rows)),),
            bias: (Add(site.out_shape, Slices(0, index, offset.float())),),
        }


def shift(direction: Tensor) -> Move:
    """x + a * direction."""
    return Move(offset=direction.detach().cpu().double())


def set_along(normals: Tensor, targets: Tensor | Sequence[float] | float = 0.0) -> Move:
    """The component of x along each of `normals` (k, d) or (d,) goes to its target: x + a * sum (t - n x) n.

    Normals must be independent; those that are not orthonormal are brought to be, with their targets, so that at
    strength 1 each component (measured along the normal brought to unit length) is exactly its target.
    """
    rows = torch.atleast_2d(normals.detach().cpu().double())
    lengths = rows.norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all()):
        raise RewriteError("a normal is zero, so nothing lies along it; give one that is not")
    rows = rows / lengths
    wanted = torch.as_tensor(targets, dtype=torch.float64).flatten().expand(len(rows))
    basis, triangle = torch.linalg.qr(rows.T)
    sizes = triangle.diagonal().abs()
    if float(sizes.min()) < 1e-6:
        raise RewriteError("the normals depend on one another, so their targets may contradict; leave one out")
    # rows = triangle' basis', so components along the basis that give those along the rows solve triangle' c = t.
    along = torch.linalg.solve_triangular(triangle.T, wanted[:, None], upper=False)[:, 0]
    offset = basis @ along if bool(wanted.any()) else None
    return Move(offset, -basis, basis.T.contiguous(), projective=True)


def affine(matrix: Tensor, offset: Tensor | None = None, *, rank: int | None = None) -> Move:
    """x + a ((matrix - 1) x + offset): at strength 1 the affine map, `rank` (or all) of its linear part kept."""
    change = matrix.detach().cpu().double() - torch.eye(len(matrix), dtype=torch.float64)
    u, sizes, v = torch.linalg.svd(change)
    kept = int((sizes > 1e-7 * max(float(sizes[0]), 1e-30)).sum()) if rank is None else rank
    own = None if offset is None else offset.detach().cpu().double()
    return Move(own, u[:, :kept] * sizes[:kept], v[:kept].contiguous()) if kept else Move(own)


def both(one: Mapping[str, tuple[Operation, ...]], other: Mapping[str, tuple[Operation, ...]]) -> Operations:
    """The operations of two changes together."""
    return {name: (*one.get(name, ()), *other.get(name, ())) for name in {**one, **other}}


def _offset(site: Site, tensors: dict[str, Tensor], offset: Tensor) -> Operations:
    """An offset (out,) of the value W x, as a change of the bias."""
    wanted = (offset * (site.weight_gain / site.bias_gain)).reshape(site.out_shape)
    mean = wanted.mean(tuple(range(1, wanted.ndim)), keepdim=True) if wanted.ndim > 1 else wanted
    lost = float((wanted - mean).norm() / wanted.norm().clamp(min=1e-300))
    stored = None if site.bias is None else tuple(tensors[site.bias].shape)
    if stored == site.out_shape:
        return {site.bias or "": (Add(stored, Dense(wanted.float())),)}
    if stored is None or lost > HELD:
        form = " x ".join(str(size) for size in site.out_shape)
        raise RewriteError(
            f"a step of the code cannot be folded into {site.name}: it adds a map of {form} to its value, which "
            f"stores {'no bias' if stored is None else 'a bias of one number a channel'} (a number a channel would "
            f"miss {lost:.0%} of it); fold a projection to 0 instead, which needs no bias, or edit parameters"
        )
    return {site.bias or "": (Add(stored, Dense(mean.flatten().float())),)}


def _index(site: Site, channels: Sequence[int]) -> Tensor:
    limit = site.out_shape[0]
    if not channels or list(channels) != sorted(set(channels)) or not 0 <= channels[0] <= channels[-1] < limit:
        raise RewriteError(
            f"channels of {site.name} are {list(channels)}; expected different ones in order, from 0 to {limit - 1}"
        )
    if len(site.out_shape) != 1:
        raise RewriteError(f"{site.name} gives a map and no style, so it has no style channels; move its code instead")
    return torch.tensor(channels)


def _channel_axis(site: Site) -> int:
    (axis,) = site.out_axes
    return axis


def _bias(site: Site) -> str:
    if site.bias is None:
        raise RewriteError(f"{site.name} stores no bias, so its channels cannot be moved; scale the units it feeds")
    return site.bias
