"""What a recipe asks for, measured at one layer: the keys to respond to and the values they should get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.background import Background
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer, State
from rewrite.memory import canonical, check_editable, maps, patches
from rewrite.progress import Progress, quiet
from rewrite.ranking import by_energy
from rewrite.rules.placement import Passes, Placed, placements
from rewrite.rules.recipe import Recipe, Region


@dataclass(frozen=True)
class Evidence:
    """Positions p of all paste examples, P in number, in float64."""

    patches: Tensor
    """Keys (P, taps, in)."""
    value: Tensor
    """Values now (P, out), before gain."""
    target: Tensor
    """Values wanted (P, out), divided by the paste image's own gain."""
    weight: Tensor
    """Coverage of the moved object (P,)."""
    example: Tensor
    """Which paste example each position belongs to (P,)."""
    style: Tensor | None
    """Modulation of each paste example (examples, in)."""
    context_keys: Tensor
    """Keys under the context's regions (Q, in)."""
    context_weight: Tensor
    """Their coverage (Q,)."""
    context_example: Tensor
    """Which paste example a context key goes with (Q,), or -1 for a context of its own."""
    placed: tuple[Placed, ...]
    """All paste examples as maps, for the method that needs more than positions; else empty."""

    def without(self, example: int) -> Evidence:
        """All but one paste example; its keys leave the context, where the context is the paste regions."""
        kept, context = self.example != example, self.context_example != example
        return self._subset(kept, context)

    def only(self, example: int) -> Evidence:
        """One paste example alone, with the whole context."""
        return self._subset(self.example == example, torch.ones_like(self.context_example, dtype=torch.bool))

    def _subset(self, kept: Tensor, context: Tensor) -> Evidence:
        return Evidence(
            self.patches[kept],
            self.value[kept],
            self.target[kept],
            self.weight[kept],
            self.example[kept],
            self.style,
            self.context_keys[context],
            self.context_weight[context],
            self.context_example[context],
            self.placed,
        )


def gather(
    generator: Generator,
    layer: Layer,
    recipe: Recipe,
    world: Background | None,
    progress: Progress = quiet,
    *,
    weight: Tensor | None = None,
) -> Evidence:
    """Evidence of a recipe at one layer, from forward passes up to that layer.

    Values are those of the canonical `weight`; of the module's own where it is left out. `world` tells an erase which
    units are peculiar; a copy does without.
    """
    check_editable(layer)
    if weight is None:
        weight = canonical(layer, generator.module.state_dict()[layer.weight])
    passes = Passes(generator, layer, recipe.truncation)
    contexts = []
    for number, region in enumerate(recipe.where):
        progress(f"context of {layer.name}", number, len(recipe.where))
        contexts.append(_covered_keys(passes.of(region), region))
    progress(f"context of {layer.name}", len(contexts), len(contexts))
    context_keys = torch.cat([keys for keys, _ in contexts])
    context_weight = torch.cat([covered for _, covered in contexts])
    sizes = [len(covered) for _, covered in contexts]
    numbers = torch.arange(len(contexts)) if recipe.context is None else torch.full((len(contexts),), -1)

    parts, styles, kept = [], [], []
    silenced = _peculiar_units(recipe, context_keys, context_weight, world)
    for number, placed in enumerate(placements(layer, weight, passes, recipe, silenced)):
        progress(f"keys of {layer.name}", number, len(recipe.paste))
        parts.append(_positions(layer, placed, number))
        styles += [] if placed.style is None else [placed.style]
        kept += [placed] if recipe.method == "gradient" else []
    progress(f"keys of {layer.name}", len(parts), len(parts))
    patch, value, target, mass, example = (torch.cat(column) for column in zip(*parts, strict=True))
    asked = float((mass[:, None] * (target - value) ** 2).sum())
    if not math.isfinite(asked):
        raise RewriteError(f"the values at {layer.name} are not finite; use latents and weights of ordinary size")
    if asked == 0:
        raise RewriteError("the copied values are those of the paste places already; copy another region")
    return Evidence(
        patch,
        value,
        target,
        mass,
        example,
        torch.cat(styles) if styles else None,
        context_keys,
        context_weight,
        numbers.repeat_interleave(torch.tensor(sizes)),
        tuple(kept),
    )


def _positions(layer: Layer, placed: Placed, number: int) -> Sequence[Tensor]:
    """Patches, values, targets, weights and example number where the object lies."""
    ys, xs = torch.nonzero(placed.where, as_tuple=True)
    return (
        patches(layer, placed.key, ys, xs),
        placed.value[:, ys, xs].T,
        placed.wanted[:, ys, xs].T,
        placed.where[ys, xs],
        torch.full((len(ys),), number),
    )


def _covered_keys(state: State, region: Region) -> tuple[Tensor, Tensor]:
    covered = region.coverage(state.layer.in_resolution, state.layer.in_margin)
    ys, xs = torch.nonzero(covered, as_tuple=True)
    return maps(state.key)[0].detach().cpu().double()[:, ys, xs].T, covered[ys, xs]


def _peculiar_units(recipe: Recipe, keys: Tensor, weight: Tensor, world: Background | None) -> Tensor | None:
    if recipe.erase is None:
        return None
    if world is None:
        raise RewriteError("an erase needs the layer's moments to tell which units are peculiar; give them")
    if recipe.erase.units > keys.shape[1]:
        raise RewriteError(
            f"erase asks for {recipe.erase.units} units and the layer has {keys.shape[1]}; ask for fewer"
        )
    return by_energy(keys, weight, world.moments.at((0, 0)).diagonal())[: recipe.erase.units]
