"""The edits that are to go together: one by one, in order of content, each known as a rule or taken as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import edits
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.rules import Recipe, parse
from rewrite.rules.auto import Setting, choose

VERB = "resolve"
"""What a correction of `resolve` says it was made by: it is made anew wherever its members go."""
CHOICES = ("layer", "rank", "mu", "nu", "strength")

Pair = tuple[edits.Edit, float | None]
"""An edit and its strength; None is the edit's own."""


@dataclass(frozen=True)
class Rule:
    """How a member can be made again: its recipe, with every choice made."""

    recipe: Recipe
    setting: Setting
    layer: Layer


@dataclass(frozen=True)
class Member:
    """One edit at one strength; `rule` is None where it has no recipe that can be replayed."""

    edit: edits.Edit
    strength: float
    rule: Rule | None

    @property
    def name(self) -> str:
        """Short, for sentences."""
        return self.edit.content[:12]


def members(generator: Generator, pairs: Iterable[Pair]) -> tuple[Member, ...]:
    """The members of these edits, sorted by content: whatever order they come in, it is the same.

    Composed edits are taken apart, strengths multiplied; strength 0 is absence; corrections of an earlier resolve are
    left out. RewriteError for an edit that is there twice, or where nothing is left.
    """
    found: dict[str, tuple[edits.Edit, float]] = {}
    for edit, strength in pairs:
        for part, reached in edit.parts(edit.accepted(edit.strength if strength is None else strength)):
            if not reached or _is_correction(part):
                continue
            if part.content in found:
                raise RewriteError(
                    f"edit {part.content[:12]} is there twice; expected each edit once; give it the sum of its "
                    f"strengths"
                )
            found[part.content] = part, reached
    if not found:
        raise RewriteError("no edit is left to put together; give one at least, at a strength other than 0")
    return tuple(Member(part, reached, _rule(generator, part)) for _, (part, reached) in sorted(found.items()))


def _is_correction(edit: edits.Edit) -> bool:
    return edit.made_by.get("tool") == "rewrite" and edit.made_by.get("verb") == VERB


def _rule(generator: Generator, edit: edits.Edit) -> Rule | None:
    """The rule behind an edit, or None: it has no recipe, or one that leaves a choice open, or it holds more."""
    if not isinstance(edit.recipe, dict) or "paste" not in edit.recipe:
        return None
    try:
        recipe = parse(edit.recipe | _chosen(edit.notes))
    except RewriteError:
        return None
    layer = generator.layers.get(recipe.layer) if isinstance(recipe.layer, str) else None
    if layer is None or layer.refuses or not _is_one_low_rank(edit, layer.weight):
        return None
    undecided = "auto" in (recipe.rank, recipe.mu, recipe.strength) or (recipe.nu == "auto" and layer.gain is not None)
    return None if undecided else Rule(recipe, choose(generator, recipe)[0], layer)


def _chosen(notes: Any) -> dict[str, Any]:
    """What `auto` chose, as the edit's notes tell it."""
    auto = notes.get("auto")
    return {name: auto[name] for name in CHOICES if name in auto} if isinstance(auto, dict) else {}


def _is_one_low_rank(edit: edits.Edit, weight: str) -> bool:
    operations = edit.operations.get(weight, ())
    return (
        edit.touched == (weight,)
        and len(operations) == 1
        and isinstance(operations[0], edits.Add)
        and isinstance(operations[0].form, edits.LowRank)
    )
