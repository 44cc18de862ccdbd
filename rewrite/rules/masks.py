"""The mask files of the rewriting project, read as recipes.

Such a file is JSON: `object` [image number, PNG URL], `paste` the same, `key` a list of the same. An image number is a
row of stream 1. Model, layer, rank and truncation are not in it and have to be said.
"""

from __future__ import annotations

from typing import Any

from rewrite.errors import RewriteError
from rewrite.rules.recipe import Recipe, parse

STREAM = 1
UNSAID = ("layer", "rank", "truncation")


def is_mask_file(data: Any) -> bool:
    """Whether plain data has the shape of such a file."""
    return isinstance(data, dict) and "object" in data and "paste" in data and "copy" not in data


def as_recipe(data: dict[str, Any], *, origin: str = "the mask file", **settings: Any) -> Recipe:
    """The recipe of a mask file; `settings` are recipe fields and must say what the file does not."""
    unsaid = [name for name in UNSAID if settings.get(name) is None]
    if unsaid:
        options = " ".join(f"--{name} ..." for name in unsaid)
        raise RewriteError(
            f"{origin} is a mask file of the rewriting project, which does not say {', '.join(unsaid)}; add {options}"
        )
    painted = {
        "copy": _region(data["object"], "object", origin),
        "paste": [_region(data["paste"], "paste", origin)],
    }
    keys = data.get("key") or []
    if not isinstance(keys, list):
        raise RewriteError(f"{origin}: key is {type(keys).__name__}; expected a list of [image number, PNG URL]")
    if keys:
        painted["context"] = [_region(key, "key", origin) for key in keys]
    return parse(painted | settings, origin=origin)


def _region(painted: Any, field: str, origin: str) -> dict[str, Any]:
    match painted:
        case [int(row), str(mask)]:
            return {"stream": STREAM, "row": row, "mask": mask}
    raise RewriteError(f"{origin}: {field} is not [image number, PNG URL]; save the masks again, or write a recipe")
