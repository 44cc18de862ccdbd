"""A recipe, measured at its layer once, for every method that is to follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import edits
from edits.identity import describe
from rewrite.background import Background, background
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.memory import Change, as_operation, canonical
from rewrite.rules import Recipe, parse
from rewrite.rules.context import context, directions
from rewrite.rules.evidence import Evidence, gather


@dataclass(frozen=True)
class Request:
    """What is asked of one layer, and by what it may be recognised."""

    generator: Generator
    recipe: Recipe
    layer: Layer
    weight: Tensor
    """Canonical, (out, in, kernel height, kernel width)."""
    world: Background
    evidence: Evidence
    """With its paste examples as maps, as a descent needs them."""
    directions: Tensor
    """All context directions, the most peculiar first."""

    @staticmethod
    def of(generator: Generator, wanted: dict[str, Any]) -> Request:
        """RewriteError unless the recipe names one layer."""
        recipe = parse(wanted | {"method": "gradient"})
        if not isinstance(recipe.layer, str):
            raise RewriteError("methods are compared on one layer; name one in the recipe")
        layer = generator.layer(recipe.layer)
        weight = canonical(layer, generator.module.state_dict()[layer.weight])
        world = background(generator, layer, samples=recipe.samples, truncation=recipe.truncation)
        evidence = gather(generator, layer, recipe, world)
        found = directions(evidence, world.moments.at((0, 0)), recipe.eps)
        return Request(generator, recipe, layer, weight, world, evidence, found)

    def context(self, rank: int | None) -> Tensor:
        """D (rank, in), orthonormal; every direction there is where `rank` is None."""
        every = torch.eye(self.layer.in_features, dtype=torch.float64)
        return every if rank is None else context(self.directions, min(rank, len(self.directions)))

    def edit(self, change: Change) -> edits.Edit:
        """The change as an edit, without a word of how it came about."""
        operation = as_operation(self.layer, change)
        return edits.Edit({self.layer.weight: (operation,)}, describe(self.generator.module, [self.layer.weight]))
