"""A rule, from recipe to edit: gather keys, find the context, solve, let the true layer decide, keep it as an edit."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import edits
from rewrite.background import background
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.memory import Change, as_operation, canonical
from rewrite.progress import Progress, quiet
from rewrite.rules.auto import Setting, choose
from rewrite.rules.context import context, directions
from rewrite.rules.evidence import Evidence, gather
from rewrite.rules.files import read
from rewrite.rules.gradient import descend
from rewrite.rules.judge import Judge, probe
from rewrite.rules.recipe import Recipe, parse
from rewrite.rules.solve import penalty, solve, truncate


def rule(
    generator: Generator, recipe: Recipe | dict[str, Any] | str | Path, *, progress: Progress = quiet
) -> edits.Edit:
    """The edit that makes `generator` follow a recipe (a Recipe, plain data, or the path of a YAML file).

    Solved in closed form unless the recipe asks for the published descent. The same recipe, weights, version and
    thread count give the same edit to the byte. RewriteError says what is wrong with a recipe that cannot be followed.
    """
    asked = _for_model(read(recipe) if isinstance(recipe, str | Path) else parse(recipe), generator)
    setting, why = choose(generator, asked, progress)
    layer = generator.layer(setting.layer)
    followed = follow(
        generator, asked, setting, canonical(layer, generator.module.state_dict()[layer.weight]), progress=progress
    )
    return edits.Edit(
        operations={layer.weight: (as_operation(layer, followed.change),)},
        base=edits.identity.describe(
            generator.module, [layer.weight], upstream=layer.upstream, architecture=generator.architecture
        ),
        strength=setting.strength,
        recipe=asked.as_json(),
        made_by={"tool": "rewrite", "version": version("rewrite"), "verb": "rule"},
        notes=followed.notes if why is None else followed.notes | {"auto": why},
    )


@dataclass(frozen=True)
class Followed:
    """A recipe followed at one layer."""

    change: Change
    """As it will be stored."""
    evidence: Evidence
    notes: dict[str, Any]
    """Its figures on the true layer, at the setting's strength."""


def follow(
    generator: Generator, recipe: Recipe, setting: Setting, weight: Tensor, *, progress: Progress = quiet
) -> Followed:
    """The change that a recipe asks of its layer's canonical `weight`, on keys of the module as it is upstream."""
    layer = generator.layer(setting.layer)
    world = background(generator, layer, samples=recipe.samples, truncation=recipe.truncation, progress=progress)
    evidence, covariance = gather(generator, layer, recipe, world, progress, weight=weight), world.moments.at((0, 0))
    read = None if setting.rank == "full" else context(directions(evidence, covariance, recipe.eps), setting.rank)
    if recipe.method == "gradient":
        every = torch.eye(layer.in_features, dtype=torch.float64)
        change = descend(
            layer, weight, evidence.placed, every if read is None else read, steps=recipe.steps, progress=progress
        )
    else:
        price = penalty(layer, weight, world, read, recipe.eps)
        change = solve(evidence, layer, read, price.matrix(setting.mu, setting.nu))
    change, kept = truncate(change, covariance, recipe.eps) if read is None else (change, 1.0)
    judge = Judge(layer, weight, evidence, probe(generator, layer, recipe.truncation), setting.mu)
    change, step = judge.accept(change)
    found = judge.measure(change.scaled(setting.strength))
    notes = {
        "layer": layer.name,
        "rank": change.rank,
        "energy_kept": _short(kept),
        "step": step,
        "residual": _short(found.residual),
        "background_shift": _short(found.background),
        "gain_drift": _short(found.drift),
    }
    return Followed(change, evidence, notes)


def _for_model(recipe: Recipe, generator: Generator) -> Recipe:
    """The recipe, naming its model; RewriteError where it names another one."""
    if recipe.model is None:
        return recipe.model_copy(update={"model": generator.name or None})
    if generator.name and recipe.model != generator.name:
        raise RewriteError(
            f"the recipe is for model {recipe.model!r} and this is {generator.name!r}; "
            f"load that model, or change the recipe's `model`"
        )
    return recipe


def _short(value: float) -> float:
    return float(f"{value:.6g}")
