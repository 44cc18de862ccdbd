"""`auto`: layer, rank, mu, nu and strength chosen by figures, not renders."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from rewrite.background import Background, background
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.memory import Change, canonical, change_energy, expected_energy
from rewrite.progress import Progress, quiet
from rewrite.rules.context import context, directions
from rewrite.rules.evidence import Evidence, gather
from rewrite.rules.recipe import Recipe
from rewrite.rules.solve import Penalty, penalty, solve

Rank = int | Literal["full"]
RANKS: tuple[Rank, ...] = (1, 4, 16, 64, "full")
MUS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
NUS = (0.1, 1.0, 10.0)
STRENGTHS = (0.75, 1.0, 1.25, 1.5)
SLACK = 0.1
"""The least cost is taken among settings whose effect is within this share of the best."""
LARGEST_FULL = 1024
"""Unknowns an output channel may have for full rank to be part of the sweep."""
ONE_PASTE_RANK = 8


@dataclass(frozen=True)
class Setting:
    """A recipe's choices, all made."""

    layer: str
    rank: Rank
    mu: float
    nu: float
    strength: float


@dataclass(frozen=True)
class Tried:
    """One point of the sweep, with what it would do."""

    setting: Setting
    effect: float
    """1 - residual ratio on the paste example left out, averaged over them in turn."""
    cost: float
    """Relative RMS change of the layer's output (and of its weight's norm) on latents outside the recipe."""


def choose(generator: Generator, recipe: Recipe, progress: Progress = quiet) -> tuple[Setting, dict[str, Any] | None]:
    """A setting with every choice made; and what was chosen and why, as plain data, where there was a choice.

    RewriteError where the examples do not tell.
    """
    layers = (recipe.layer,) if isinstance(recipe.layer, str) else recipe.layer
    gained = any(generator.layer(name).gain for name in layers)
    nu = 0.0 if recipe.nu == "auto" and not gained else recipe.nu
    if (
        len(layers) == 1
        and recipe.rank != "auto"
        and recipe.mu != "auto"
        and nu != "auto"
        and recipe.strength != "auto"
    ):
        return Setting(layers[0], recipe.rank, recipe.mu, nu, recipe.strength), None
    alone = len(recipe.paste) == 1
    if alone and len(layers) > 1:
        raise RewriteError(
            f"one paste example cannot choose among {len(layers)} layers; name one layer, or give more paste examples"
        )
    tried: list[Tried] = []
    for number, name in enumerate(layers):
        progress("sweep of layers", number, len(layers))
        tried += _sweep(generator, generator.layer(name), recipe, progress)
    progress("sweep of layers", len(layers), len(layers))
    best = max(one.effect for one in tried)
    if best <= 0:
        raise RewriteError(
            "no setting carries over from some paste examples to the one left out; give more paste examples, "
            "a tighter context, or another layer"
        )
    good = [one for one in tried if one.effect >= (1 - SLACK) * best]
    taken = min(good, key=lambda one: (one.cost, -one.effect))
    return taken.setting, {
        **asdict(taken.setting),
        "effect": _short(taken.effect),
        "best_effect": _short(best),
        "cost": _short(taken.cost),
        "tried": len(tried),
        "said": (
            "one paste example: mu and strength only, judged on that example itself"
            if alone
            else f"least cost with effect within {SLACK:.0%} of the best, leaving out one paste example in turn"
        ),
    }


def _sweep(generator: Generator, layer: Layer, recipe: Recipe, progress: Progress) -> Iterator[Tried]:
    world = background(generator, layer, samples=recipe.samples, truncation=recipe.truncation, progress=progress)
    evidence = gather(generator, layer, recipe, world, progress)
    weight = canonical(layer, generator.module.state_dict()[layer.weight])
    examples = range(len(recipe.paste))
    folds = [_Fold(layer, weight, world, evidence, None, recipe.eps)]
    if len(examples) > 1:
        folds += [_Fold(layer, weight, world, evidence, example, recipe.eps) for example in examples]
    own = expected_energy(layer, world.moments, weight)
    strengths = STRENGTHS if recipe.strength == "auto" else (recipe.strength,)
    nus = NUS if recipe.nu == "auto" and layer.gain else (0.0 if recipe.nu == "auto" else recipe.nu,)
    mus = MUS if recipe.mu == "auto" else (recipe.mu,)
    for rank in _ranks(recipe, layer, folds):
        bases = [fold.basis(rank) for fold in folds]
        for mu, nu in itertools.product(mus, nus):
            whole, *parts = (fold.change(*base, mu, nu) for fold, base in zip(folds, bases, strict=True))
            cost = (folds[0].cost(whole, bases[0][1]) / own) ** 0.5
            judged = [(whole, evidence)] if not parts else [(part, evidence.only(e)) for e, part in enumerate(parts)]
            for strength in strengths:
                effects = [1 - _residual(change.scaled(strength), seen) for change, seen in judged]
                effect = sum(effects) / len(effects)
                yield Tried(Setting(layer.name, rank, mu, nu, strength), effect, abs(strength) * cost)


@dataclass(frozen=True)
class _Fold:
    """A sweep's view of one layer with one paste example left out, or none."""

    layer: Layer
    weight: Tensor
    world: Background
    whole: Evidence
    left_out: int | None
    eps: float

    @cached_property
    def evidence(self) -> Evidence:
        return self.whole if self.left_out is None else self.whole.without(self.left_out)

    @cached_property
    def found(self) -> Tensor:
        return directions(self.evidence, self.world.moments.at((0, 0)), self.eps)

    def basis(self, rank: Rank) -> tuple[Tensor | None, Penalty]:
        read = None if rank == "full" else context(self.found, rank)
        return read, penalty(self.layer, self.weight, self.world, read, self.eps)

    def change(self, read: Tensor | None, price: Penalty, mu: float, nu: float) -> Change:
        return solve(self.evidence, self.layer, read, price.matrix(mu, nu))

    def cost(self, change: Change, price: Penalty) -> float:
        """E||dv||^2, and kappa E||s dW||^2 where there is a gain."""
        flat = change.response.permute(0, 2, 3, 1).flatten(1)
        everywhere = change_energy(self.layer, self.world.moments, change)
        return everywhere + (0.0 if price.norm is None else float(((flat @ price.norm) * flat).sum()))


def _ranks(recipe: Recipe, layer: Layer, folds: Sequence[_Fold]) -> list[Rank]:
    if recipe.rank != "auto":
        return [recipe.rank]
    most = min(len(fold.found) for fold in folds)
    if len(folds) == 1:
        return [min(ONE_PASTE_RANK, most)]
    unknowns = layer.in_features * layer.kernel[0] * layer.kernel[1]
    return [rank for rank in RANKS if (unknowns <= LARGEST_FULL if rank == "full" else rank <= most)]


def _residual(change: Change, evidence: Evidence) -> float:
    read = evidence.patches @ change.context.T
    moved = torch.einsum("ptr,ort->po", read, change.response.flatten(2))
    wanted, mass = evidence.target - evidence.value, evidence.weight[:, None]
    return float(((mass * (wanted - moved) ** 2).sum() / (mass * wanted**2).sum()).sqrt())


def _short(value: float) -> float:
    return float(f"{value:.4g}")
