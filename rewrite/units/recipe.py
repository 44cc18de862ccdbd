"""What makes a unit edit again: its layer, its units, and what is done to them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rewrite.generator import Noise
from rewrite.recipes import Asked

Verb = Literal["ablate", "scale", "set"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Recipe(Asked):
    """Units of a layer ablated, scaled by a factor, or set to a value everywhere."""

    layer: str
    units: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    change: Verb
    value: Finite | tuple[Finite, ...] | None = None
    """One number, or one for each unit; none to ablate."""
    noise: Noise = "const"
    """What noise inputs hold while the edit is tried out."""
