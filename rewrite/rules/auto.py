"""`auto`: layer, rank, mu, nu and strength chosen by figures, not renders."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from rewrite.background import HELD_OUT, STREAM, Background, background
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.memory import Change, canonical, check_editable, expected_energy
from rewrite.progress import Progress, quiet
from rewrite.rules.context import context, directions
from rewrite.rules.evidence import Evidence, gather
from rewrite.rules.judge import response
from rewrite.rules.recipe import Recipe
from rewrite.rules.solve import penalty, solve

Rank = int | Literal["full"]
Point = tuple[Rank, float, float]
"""Rank, mu, nu."""
RANKS: tuple[Rank, ...] = (1, 4, 16, 64, "full")
MUS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
NUS = (0.1, 1.0, 10.0)
STRENGTHS = (0.75, 1.0, 1.25, 1.5)
SLACK = 0.1
"""The least cost is taken among settings whose effect is within this share of the best."""
LARGEST_FULL = 1024
"""Unknowns an output channel may have for full rank to be part of the sweep."""
ONE_PASTE_RANK = 8
FOLDS = 12
"""Most paste examples that are left out in turn."""
HELD_OUT_IMAGES = 64


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
    for name in layers:
        check_editable(generator.layer(name))
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
    best = max((one.effect for one in tried), default=0.0)
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
    """Every point of the grid on one layer: effect on examples left out, cost on latents held out."""

    def world(stream: int, samples: int) -> Background:
        return background(
            generator, layer, samples=samples, stream=stream, truncation=recipe.truncation, progress=progress
        )

    solver = _Solver(
        layer, canonical(layer, generator.module.state_dict()[layer.weight]), world(STREAM, recipe.samples)
    )
    whole, held = gather(generator, layer, recipe, solver.world, progress), world(HELD_OUT, HELD_OUT_IMAGES)
    own = expected_energy(layer, held.moments, solver.weight)
    available = len(directions(whole, solver.world.moments.at((0, 0)), recipe.eps))
    points = list(itertools.product(_ranks(recipe, layer, available), *_weights(recipe, layer)))
    strengths = STRENGTHS if recipe.strength == "auto" else (recipe.strength,)
    left_out = _left_out(len(recipe.paste))
    pairs = [(whole.without(e), whole.only(e)) for e in left_out] or [(whole, whole)]
    effects: dict[Point, list[list[float]]] = {}
    for number, (taught, asked) in enumerate(pairs):
        progress(f"sweep of {layer.name}", number, len(pairs))
        for point, change in solver.changes(taught, points, recipe.eps):
            effects.setdefault(point, []).append([1 - _residual(change.scaled(s), asked) for s in strengths])
    progress(f"sweep of {layer.name}", len(pairs), len(pairs))
    for point, change in solver.changes(whole, points, recipe.eps):
        judged = effects.get(point, [])
        if len(judged) == len(pairs):
            cost = (solver.energy(change, held) / own) ** 0.5
            for strength, column in zip(strengths, zip(*judged, strict=True), strict=True):
                yield Tried(Setting(layer.name, *point, strength), sum(column) / len(column), abs(strength) * cost)


@dataclass(frozen=True)
class _Solver:
    """Solves one layer's problem at many points of a grid."""

    layer: Layer
    weight: Tensor
    world: Background

    def changes(self, evidence: Evidence, points: Sequence[Point], eps: float) -> Iterator[tuple[Point, Change]]:
        """The change of each point; points of more rank than the context has keys are passed over."""
        found = directions(evidence, self.world.moments.at((0, 0)), eps)
        for rank, group in itertools.groupby(points, key=lambda point: point[0]):
            if rank != "full" and rank > len(found):
                continue
            read = None if rank == "full" else context(found, rank)
            price = penalty(self.layer, self.weight, self.world, read, eps)
            for point in group:
                yield point, solve(evidence, self.layer, read, price.matrix(*point[1:]))

    def energy(self, change: Change, held: Background) -> float:
        """E||dv||^2, and kappa E||s dW||^2 where there is a gain, over the images held out."""
        price = penalty(self.layer, self.weight, held, change.context, 0.0)
        flat = change.response.permute(0, 2, 3, 1).flatten(1)
        return float(((flat @ price.matrix(1.0, 1.0)) * flat).sum())


def _ranks(recipe: Recipe, layer: Layer, available: int) -> tuple[Rank, ...]:
    if recipe.rank != "auto":
        return (recipe.rank,)
    if len(recipe.paste) == 1:
        return (min(ONE_PASTE_RANK, available),)
    unknowns = layer.in_features * layer.kernel[0] * layer.kernel[1]
    return tuple(rank for rank in RANKS if rank != "full" or unknowns <= LARGEST_FULL)


def _weights(recipe: Recipe, layer: Layer) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The values of mu and of nu to try."""
    mus = MUS if recipe.mu == "auto" else (recipe.mu,)
    if recipe.nu == "auto":
        return mus, NUS if layer.gain else (0.0,)
    return mus, (recipe.nu,)


def _left_out(examples: int) -> list[int]:
    """Which paste examples are left out in turn: all of them, or an even sample of many; none of one."""
    if examples == 1:
        return []
    return [number * examples // min(examples, FOLDS) for number in range(min(examples, FOLDS))]


def _residual(change: Change, evidence: Evidence) -> float:
    wanted, mass = evidence.target - evidence.value, evidence.weight[:, None]
    missed = wanted - response(evidence, change)
    return float(((mass * missed**2).sum() / (mass * wanted**2).sum()).sqrt())


def _short(value: float) -> float:
    return float(f"{value:.4g}")
