"""Classes taken together under names of one's own: a hundred and fifty become the few that matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from edits.file import read_regular
from rewrite.concepts.interface import Segmenter, class_names, logits
from rewrite.errors import RewriteError, nearest

Groups = Mapping[str, str | Sequence[str]]
"""Merged names, and of each the classes that it takes in: a list, one name, or `REST`."""
REST = "*"
"""All classes that no other group takes in."""
BYTES = 2**20


@dataclass(frozen=True)
class Grouped:
    """A `Segmenter` whose classes are groups of another's."""

    segmenter: Segmenter
    classes: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    """Of each group the other's classes, by number."""

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, G, H, W): of each group the largest, so labels are the other's, renamed."""
        found = logits(self.segmenter, images)
        return torch.stack([found[:, list(members)].amax(1) for members in self.members], 1)


def grouped(segmenter: Segmenter, groups: Groups) -> Grouped:
    """The segmenter with the classes of `groups` first, in that order, then those that none takes in, as they were.

    RewriteError for a class that there is not, that two groups take in, or whose name would stand twice.
    """
    known = class_names(segmenter)
    wanted = {name: [REST] if names == REST else _listed(name, names) for name, names in groups.items()}
    rest = [name for name, names in wanted.items() if names == [REST]]
    if len(rest) > 1:
        raise RewriteError(f"the groups {' and '.join(rest)} both take in the rest; expected one {REST!r} at most")
    owner: dict[str, str] = {}
    for group, names in wanted.items():
        for name in names if group not in rest else ():
            if name not in known:
                raise RewriteError(
                    f"the group {group} takes in {name!r}, which is no class of the segmenter; nearest: "
                    f"{nearest(name, known)}"
                )
            if name in owner:
                raise RewriteError(f"{owner[name]} and {group} both take in {name}; expected each class in one group")
            owner[name] = group
    for name in known:
        if name not in owner:
            owner[name] = rest[0] if rest else name
            if not rest and name in wanted:
                raise RewriteError(
                    f"a group is called {name}, as is a class that no group takes in; rename the group, or list "
                    f"{name} in one"
                )
    if rest and rest[0] not in owner.values():
        raise RewriteError(f"the group {rest[0]} is left with no class, as others take in all; leave it out")
    titles = tuple(dict.fromkeys([*wanted, *owner.values()]))
    members = tuple(tuple(i for i, name in enumerate(known) if owner[name] == title) for title in titles)
    return Grouped(segmenter, titles, members)


def read(path: Path) -> dict[str, str | list[str]]:
    """Groups from a YAML or JSON file, `plant: [tree, grass]`; RewriteError, with the line, if it is none."""
    try:
        root = yaml.compose(read_regular(path, BYTES).decode(), yaml.SafeLoader)
    except OSError as error:
        raise RewriteError(f"groups {path} cannot be read ({error.strerror}); give the path of a YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "not readable as text"
        raise RewriteError(
            f"{path} is not valid YAML ({problem}{f' at line {mark.line + 1}' if mark else ''}); write a line "
            f"`name: [class, class]` for each group"
        ) from None
    if not isinstance(root, MappingNode):
        raise RewriteError(f"{path} holds no groups; write a line `name: [class, class]` for each")
    found: dict[str, str | list[str]] = {}
    for key, value in root.value:
        name = _text(path, key)
        if name in found:
            raise RewriteError(f"the group {name} stands twice in {path}, at line {_line(key)}; expected it once")
        is_list = isinstance(value, SequenceNode)
        found[name] = [_text(path, item) for item in value.value] if is_list else _text(path, value)
    return found


def _listed(group: str, names: object) -> list[str]:
    listed = [names] if isinstance(names, str) else list(names) if isinstance(names, Sequence) else []
    if not (group and listed and all(isinstance(name, str) and name for name in listed)):
        raise RewriteError(f"the group {group!r} takes in {str(names)[:80]}; expected names of classes, or {REST!r}")
    return listed


def _text(path: Path, node: Node) -> str:
    # As it is written: YAML would make truth values of `on` and `no`, and numbers of others.
    if not isinstance(node, ScalarNode) or not node.value:
        raise RewriteError(f"{path} has no name at line {_line(node)}, where one was expected: `name: [class, class]`")
    return str(node.value)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
