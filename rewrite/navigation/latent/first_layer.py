"""Steering in closed form from the first map alone (Spingarn, Banner and Michaeli 2021, "GAN Steerability without
optimization").

There the code is moved so that the first map comes nearest to the transformed one. Here the layer that makes the map is
edited instead, so the first map is transformed exactly: dW = (P - 1) W, and a map that is stored, C, by (P - 1) C.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.metadata import version

import torch
from torch import Tensor

import edits
from edits import Add, Dense
from edits.identity import state
from edits.operations import Operation
from rewrite.errors import RewriteError, nearest
from rewrite.generator import MAPPING, Generator, Layer
from rewrite.navigation.direction import Found
from rewrite.navigation.latent.sites import Site, sites
from rewrite.navigation.latent.steerability import explained
from rewrite.navigation.latent.transforms import TRANSFORMS, warp
from rewrite.navigation.latent.walk import asked, short
from rewrite.navigation.methods import Options

ZOOM = 2**0.5
NAMES = ("zoom", "shift_x", "shift_y")


def first_layer(generator: Generator, options: Options) -> list[Found]:
    """Zoom (by the root of 2), shift_x and shift_y (by a cell of the first map); strengths from 0 blend towards it.

    `more`: `transforms`, some of these. Facts: `explained`, the share of the squared change that the transform asks of
    images (by the same share of their side) which the edit brings about; `latent_share`, the share of the first map's
    change that any linear move of the code could have had, where the code makes that map.
    """
    more = asked(options, transforms=NAMES)
    made = []
    for name in more["transforms"]:
        if name not in NAMES:
            raise RewriteError(f"the first map knows no transform {name!r}; nearest: {nearest(name, NAMES)}")
        operations, facts, cells = _operations(generator, name)
        edit = edits.Edit(
            operations=operations,
            base=edits.describe(generator.module, operations, architecture=generator.architecture),
            made_by={"tool": "rewrite", "version": version("rewrite"), "verb": "navigate"},
            notes={"direction": facts},
        )
        amount = 0.5 if name == "zoom" else 1 / cells

        def within(_amount: float, edit: edits.Edit = edit) -> AbstractContextManager[object]:
            return edits.applied(generator.module, (edit, 1.0))

        share = explained(generator, within, TRANSFORMS[name], options, (amount,))
        made.append(Found(edit, f"{name} (first map)", {**facts, "explained": short(share)}))
    return made


def changed(maps: Tensor, name: str) -> Tensor:
    """Maps (N, C, H, W) under the transform, cells beyond the border as those at it."""
    sides = maps.shape[2:]
    how = {"zoom": {"zoom": ZOOM}, "shift_x": {"right": 1 / sides[1]}, "shift_y": {"down": 1 / sides[0]}}
    return warp(maps, **how[name])[0]


def _operations(
    generator: Generator, name: str
) -> tuple[dict[str, tuple[Operation, ...]], dict[str, float | bool | str], int]:
    """Changes of stored tensors, facts, and the first map's side."""
    tensors = state(generator.module)
    first, *later = [layer for layer in generator.layers.values() if layer.stage != MAPPING]
    if constant := _constant(first, tensors):
        stored = tensors[constant].detach().cpu().double()
        maps = stored.reshape(1, *stored.shape[-3:])
        dense = (changed(maps, name) - maps).reshape(stored.shape)
        facts: dict[str, float | bool | str] = {"map": constant, "exact": True}
        return {constant: (Add(tuple(stored.shape), Dense(dense.float())),)}, facts, stored.shape[-1]
    (site, *_), after = sites(generator), later[0]
    shape = (after.in_features, *after.in_resolution)
    weight = site.matrix(dict(tensors)).T
    if weight.shape[1] != torch.Size(shape).numel():
        raise RewriteError(f"the first values of {site.name} are no map that {after.name} reads, so none can be moved")
    maps = weight.reshape(-1, *shape)
    change = changed(maps, name) - maps
    operations: dict[str, tuple[Operation, ...]] = {site.weight: (_as_stored(site, change),)}
    if site.bias is not None and tensors[site.bias].numel() == weight.shape[1]:
        bias = tensors[site.bias].detach().cpu().double().reshape(1, *shape)
        dense = (changed(bias, name) - bias).reshape(tensors[site.bias].shape)
        if bool(dense.any()):
            operations[site.bias] = (Add(tuple(dense.shape), Dense(dense.float())),)
    basis = torch.linalg.qr(weight.T).Q
    flat = change.flatten(1)
    share = (flat @ basis).square().sum() / flat.square().sum()
    return operations, {"map": site.name, "latent_share": short(share), "exact": True}, shape[-1]


def _as_stored(site: Site, change: Tensor) -> Add:
    """Changes (code, channels, h, w) of what each number of the code adds to the map, in the stored tensor's form."""
    rows = change.flatten(1).T.reshape(*site.out_shape, site.width)
    return Add(site.shape, Dense(rows.movedim(-1, site.in_axis).float().contiguous()))


def _constant(layer: Layer, tensors: dict[str, Tensor]) -> str | None:
    """The stored map that the layer reads, if it reads one."""
    shape = (layer.in_features, *layer.in_resolution)
    for name in layer.upstream:
        stored = tuple(tensors[name].shape)
        if len(stored) >= 3 and stored[-3:] == shape and all(size == 1 for size in stored[:-3]):
            return name
    return None
