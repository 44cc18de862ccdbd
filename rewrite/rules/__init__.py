"""Rules: copy, paste, context -> edit (Bau et al. 2020, "Rewriting a Deep Generative Model")."""

from rewrite.rules.files import read
from rewrite.rules.make import rule
from rewrite.rules.recipe import Erase, Recipe, Region, parse

__all__ = ["Erase", "Recipe", "Region", "parse", "read", "rule"]
