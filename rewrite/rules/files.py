"""Recipes on disk: YAML, JSON, and the mask files of the rewriting project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rewrite.errors import RewriteError
from rewrite.rules import masks
from rewrite.rules.recipe import Recipe, parse

RECIPE_BYTES = 32 * 2**20


def read(path: str | Path, **settings: Any) -> Recipe:
    """A recipe from a file, its fields replaced by those `settings` that are not None.

    Mask paths are relative to the file. A mask file does not say layer, rank and truncation: `settings` must.
    RewriteError names the file and the field at fault.
    """
    path = Path(path)
    data, said = _data(path), {name: value for name, value in settings.items() if value is not None}
    if masks.is_mask_file(data):
        return masks.as_recipe(data, origin=str(path), **said)
    return parse({**data, **said} if isinstance(data, dict) else data, folder=path.parent, origin=str(path))


def _data(path: Path) -> Any:
    try:
        if path.stat().st_size > RECIPE_BYTES:
            raise RewriteError(f"{path} has more than {RECIPE_BYTES} bytes; a recipe is a small YAML file")
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RewriteError(f"recipe {path} cannot be read ({error.strerror}); give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise RewriteError(f"{path} is not valid YAML{line}; a recipe is YAML or JSON") from None
