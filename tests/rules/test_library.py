"""Every recipe of the library can be read, and names a model and a layer outright."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from rewrite.models import ZOO
from rewrite.rules import read

RECIPES = sorted(Path(str(files("edits"))).glob("library/*/*/recipe.yaml"))


def test_there_are_recipes():
    assert {path.parent.name for path in RECIPES} >= {"glasses", "no-glasses", "smile"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_a_recipe_of_the_library(path):
    recipe = read(path)
    assert recipe.model == path.parent.parent.name
    assert recipe.model in ZOO
    assert isinstance(recipe.layer, str)
    assert "auto" not in (recipe.rank, recipe.mu)
