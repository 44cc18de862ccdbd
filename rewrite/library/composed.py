"""Other entries of the same model put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

import edits
from rewrite import composition
from rewrite.generator import Generator
from rewrite.progress import Progress
from rewrite.recipes import Asked, parsed

Member = Callable[[str], edits.Edit]
"""The edit of another entry of the same model, by its name below the model's."""


class Composition(Asked):
    """Entries at strengths, summed, or solved together (`rewrite.composition.resolve`)."""

    members: Annotated[dict[str, Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2)]
    how: Literal["sum", "resolve"] = "sum"


def composed(generator: Generator, said: Any, member: Member, progress: Progress) -> edits.Edit:
    """The edit of a composition, whatever order its members are named in; RewriteError for another recipe."""
    asked = parsed(Composition, said, "the recipe of a composition").of(generator)
    pairs = [(member(name), strength) for name, strength in sorted(asked.members.items())]
    if asked.how == "resolve":
        return composition.resolve(generator, pairs, progress=progress)
    return edits.compose(pairs, made_by={"tool": "rewrite", "verb": "compose"})
