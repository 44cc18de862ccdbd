"""Moves of codes as edits, and the same moves in the pass, to hold the edits against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

import edits
from edits.canonical import Json
from rewrite.generator import Generator, Noise
from rewrite.latents import Name
from rewrite.navigation.latent.moves import Change, Operations, both
from rewrite.navigation.latent.sites import Site, Space, parameters, upstream

Moves = Sequence[tuple[Site, Change]]
"""What is done at which site."""


def everywhere(found: Iterable[Site], change: Change) -> Moves:
    """The same at all of these sites."""
    return [(site, change) for site in found]


def fold(
    generator: Generator,
    moves: Moves,
    *,
    notes: Mapping[str, Json] | None = None,
    space: Space = "w",
) -> edits.Edit:
    """The edit that does in weights what these moves do to codes, at any strength that both allow.

    A code is moved *after* truncation. RewriteError, with the reason, for a move that the stored tensors cannot hold.
    """
    tensors, operations = parameters((site for site, _ in moves), generator), Operations()
    for site, change in moves:
        operations = both(operations, change.operations(site, tensors))
    return edits.Edit(
        operations=operations,
        base=edits.identity.describe(
            generator.module, operations, upstream=upstream(generator, space), architecture=generator.architecture
        ),
        made_by={"tool": "rewrite", "version": version("rewrite"), "verb": "navigate"},
        notes=dict(notes or {}),
    )


@contextmanager
def moved(moves: Moves, strength: float = 1.0) -> Iterator[None]:
    """Within the block codes and styles are moved in the pass, and no weight is touched."""
    handles = []

    def before(change: Change) -> Callable[..., tuple[Any, ...]]:
        return lambda _module, inputs: (change.at(inputs[0], strength), *inputs[1:])

    def after(change: Change) -> Callable[..., Tensor]:
        return lambda _module, _inputs, output: change.at(output, strength)

    try:
        for site, change in moves:
            if change.side == "input":
                handles.append(site.module.register_forward_pre_hook(before(change)))
            else:
                handles.append(site.module.register_forward_hook(after(change)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def stepped(chosen: Iterable[Site], step: Callable[[Site], Tensor]) -> Iterator[None]:
    """Within the block codes are shifted by `step` (d,) of the site, which gradients and derivatives go through."""

    def before(site: Site) -> Callable[..., tuple[Any, ...]]:
        return lambda _module, given: (given[0] + step(site).reshape(1, -1, *[1] * (given[0].ndim - 2)), *given[1:])

    handles = [site.module.register_forward_pre_hook(before(site)) for site in chosen]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def error(generator: Generator, edit: edits.Edit, moves: Moves, codes: Tensor) -> float:
    """Largest difference between values of the sites for moved codes (N, d) and for edited weights, relative to the
    largest value: what the fold misses, before anything is painted.
    """
    chosen = list({site.name: site for site, _ in moves}.values())
    given = codes.float().to(generator.device)

    def values() -> list[Tensor]:
        return [site.module(given.reshape(*given.shape, *[1] * site.trailing)) for site in chosen]

    with moved(moves):
        wanted = values()
    with edits.applied(generator.module, (edit, 1.0)):
        found = values()
    return max(
        float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))
        for one, other in zip(found, wanted, strict=True)
    )


@dataclass(frozen=True)
class Difference:
    """Of images in [-1, 1], over all pixels and seeds."""

    largest: float
    """Between the move in the pass and the edit."""
    effect: float
    """Largest change that the move itself makes to the first few of them, for scale."""
    seeds: int


@torch.no_grad()
def difference(
    generator: Generator,
    edit: edits.Edit,
    moves: Moves,
    seeds: Iterable[Name] = range(64),
    *,
    strength: float = 1.0,
    noise: Noise = "const",
    truncation: float = 1.0,
    batch: int = 8,
) -> Difference:
    """How far images of the edited weights are from those of the moved codes."""
    names, largest, effect = list(seeds), 0.0, 0.0
    for start in range(0, len(names), batch):
        z = generator.latents(names[start : start + batch])

        def images(z: Tensor = z) -> Tensor:
            return generator.synthesize(ws=generator.styles(z, truncation=truncation), noise=noise)

        with moved(moves, strength):
            wanted = images()
        effect = max(effect, float((wanted - images()).abs().max())) if start == 0 else effect
        with edits.applied(generator.module, (edit, strength)):
            found = images()
        largest = max(largest, float((found - wanted).abs().max()))
    return Difference(largest, effect, len(names))
