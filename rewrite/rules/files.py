"""Recipes on disk: YAML, JSON, and the mask files of the rewriting project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from edits.file import read_regular
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
    data, said = plain(path), {name: value for name, value in settings.items() if value is not None}
    if masks.is_mask_file(data):
        return masks.as_recipe(data, origin=str(path), **said)
    return parse({**data, **said} if isinstance(data, dict) else data, folder=path.parent, origin=str(path))


class _Loader(yaml.SafeLoader):
    """Without anchors, by which a small file becomes a large recipe, and without a key twice: one would be lost."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not used here", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, MappingNode) else ():
            if isinstance(key, ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def plain(path: Path) -> Any:
    """The plain data of a YAML or JSON file; RewriteError if it is neither."""
    try:
        return yaml.load(read_regular(path, RECIPE_BYTES).decode(), _Loader)
    except OSError as error:
        raise RewriteError(f"recipe {path} cannot be read ({error.strerror}); give the path of a YAML file") from None
    # A value that is not what its explicit tag says makes the loader fail in any of the later ways.
    except (yaml.YAMLError, ValueError, RecursionError, MemoryError, LookupError, AttributeError, TypeError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f" at line {mark.line + 1}" if mark else ""
        reason = f" ({problem})" if problem else ""
        raise RewriteError(f"{path} is not valid YAML{line}{reason}; a recipe is plain YAML or JSON") from None
