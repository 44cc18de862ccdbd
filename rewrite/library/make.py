"""From what an entry's file asks for to its edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import edits
from rewrite import navigation, rules, units
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.library.composed import Member, composed
from rewrite.library.manifest import COMPOSE, DIRECTION, RECIPE, UNITS, File
from rewrite.progress import Progress
from rewrite.rules.files import plain

THREADS = 1
"""Edits of a library are made by one thread: any machine has one, and bytes hang on how many there are."""

Maker = Callable[[Generator, Path, Member, Progress], edits.Edit]


def _rule(generator: Generator, path: Path, _member: Member, progress: Progress) -> edits.Edit:
    return rules.rule(generator, path, progress=progress)


def _units(generator: Generator, path: Path, _member: Member, progress: Progress) -> edits.Edit:
    return units.again(generator, plain(path), progress=progress)


def _direction(generator: Generator, path: Path, _member: Member, progress: Progress) -> edits.Edit:
    return navigation.again(generator, plain(path), progress=progress)


def _composition(generator: Generator, path: Path, member: Member, progress: Progress) -> edits.Edit:
    return composed(generator, plain(path), member, progress)


KINDS: Mapping[str, tuple[File, Maker]] = {
    "paste": (RECIPE, _rule),
    "units": (UNITS, _units),
    "direction": (DIRECTION, _direction),
    "members": (COMPOSE, _composition),
}
"""What a file asks for, by a field that only its kind has: the name under which it is kept, and what makes it.

But for a composition, whose members have their own, the recipe of the edit that is made is again such a file.
"""


def make(generator: Generator, path: Path, member: Member, progress: Progress) -> edits.Edit:
    """The edit that a file asks for, by as many threads as torch has. RewriteError if it asks for none."""
    _, maker = _kind(path)
    return maker(generator, path, member, progress)


def file_of(path: Path) -> File:
    """The name under which a file that asks for an edit is kept."""
    return _kind(path)[0]


def _kind(path: Path) -> tuple[File, Maker]:
    said = plain(path)
    found = [kind for field, kind in KINDS.items() if isinstance(said, dict) and field in said]
    if len(found) != 1:
        raise RewriteError(
            f"{path} asks for no edit that a library holds; expected one of the fields {', '.join(KINDS)}"
        )
    return found[0]
