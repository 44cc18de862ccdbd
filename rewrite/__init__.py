"""How edits of image generators are made and judged.

import rewrite, edits
generator = rewrite.load("ffhq")
edit = rewrite.rule(generator, "glasses.yaml")      # -> edits.Edit
edit.save("glasses.safetensors")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewrite.errors import RewriteError
    from rewrite.generator import Generator, Layer, State
    from rewrite.models import load
    from rewrite.navigation import navigate
    from rewrite.rules import Recipe, Region, rule
    from rewrite.units import audit

__all__ = ["Generator", "Layer", "Recipe", "Region", "RewriteError", "State", "audit", "load", "navigate", "rule"]

# torch takes seconds to import, and `rewrite --help` should not wait for it: each name is imported when first used.
_HOMES = {
    "Generator": "rewrite.generator",
    "Layer": "rewrite.generator",
    "Recipe": "rewrite.rules",
    "Region": "rewrite.rules",
    "RewriteError": "rewrite.errors",
    "State": "rewrite.generator",
    "audit": "rewrite.units",
    "load": "rewrite.models",
    "navigate": "rewrite.navigation",
    "rule": "rewrite.rules",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rewrite' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
