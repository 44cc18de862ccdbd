"""What is typed after a verb: seeds, edits with strengths, numbers or words, and where results go."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import edits

SEED_LIMIT = 2**32
MOST_SEEDS = 10_000
_RANGE = re.compile(r"\s*(\d{1,15})\s*(?:-\s*(\d{1,15})\s*)?", re.ASCII)


@dataclass(frozen=True)
class Seeds:
    """Seeds in the order they were given."""

    values: tuple[int, ...]


@dataclass(frozen=True)
class Numbers:
    """Finite numbers in the order they were given."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class EditAt:
    """An edit's file and the strength asked for; None is the edit's own."""

    path: Path
    strength: float | None

    def load(self) -> tuple[edits.Edit, float | None]:
        """The edit, fetched first if its path is an address on the hub."""
        from rewrite import hub

        return hub.load(self.path), self.strength


class Noise(StrEnum):
    """What a generator's noise inputs hold."""

    const = "const"
    none = "none"


def seeds(text: str) -> Seeds:
    """Seeds from '7', '0-15' or '3,7,20-25'."""
    found: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise typer.BadParameter(f"{part!r} is no seed; give whole numbers and ranges, like 3,7,20-25")
        first = int(match[1])
        last = int(match[2] or first)
        if not first <= last < SEED_LIMIT:
            raise typer.BadParameter(f"{part!r} is no range of seeds; they go up, from 0 to {SEED_LIMIT - 1}")
        if len(found) + last - first >= MOST_SEEDS:
            raise typer.BadParameter(f"{text!r} is more than {MOST_SEEDS} seeds; ask for fewer at a time")
        found.extend(range(first, last + 1))
    return Seeds(tuple(found))


def edit_at(text: str) -> EditAt:
    """An edit's file, with a strength if what follows the last colon is a number (paths may hold colons)."""
    path, colon, tail = text.rpartition(":")
    try:
        strength = float(tail) if colon else None
    except ValueError:
        strength = None
    if strength is None:
        return EditAt(Path(text), None)
    if not path or not math.isfinite(strength):
        raise typer.BadParameter(f"{text!r} is no edit and strength; give FILE, or FILE:X with a finite number X")
    return EditAt(Path(path), strength)


def rank(text: str) -> int | str:
    """A rank, or one of the words that stand for one."""
    if text in ("full", "auto"):
        return text
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is no rank; give a whole number from 1 up, or full, or auto")
    return int(text)


def amount(text: str) -> float | str:
    """A number, or auto."""
    return text if text == "auto" else number(text)


def number(text: str | float) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise typer.BadParameter(f"{text!r} is no finite number; give one, like 0.7")
    return value


def numbers(text: str) -> Numbers:
    """Finite numbers from '-1,0,0.5'."""
    return Numbers(tuple(number(part) for part in text.split(",")))


def writable(text: str | Path) -> Path:
    """A path that a file can go to, its folder made when it is written; found out before any work is done."""
    path = Path(text)
    target = _real(path, "a file")
    if target.is_dir() or not path.name:
        raise typer.BadParameter(f"{str(path)!r} is a folder; give the path of a file in it")
    if os.path.lexists(target) and (target.is_symlink() or not target.is_file()):
        raise typer.BadParameter(f"{str(path)!r} is no regular file, and stays as it is; give another path")
    _may_hold(path, target.parent)
    return path


def folder(text: str | Path) -> Path:
    """A path of a folder that files can go to, made when they are written; found out before any work is done."""
    path = Path(text)
    target = _real(path, "a folder")
    if os.path.lexists(target) and not target.is_dir():
        raise typer.BadParameter(f"{str(path)!r} is no folder; give the path of one")
    _may_hold(path, target)
    return path


def _real(path: Path, what: str) -> Path:
    """Where it leads, links followed; one that is left leads to itself."""
    if "\0" in str(path):
        raise typer.BadParameter(f"{str(path)!r} holds a null byte; give the path of {what}")
    return Path(os.path.realpath(path))


def _may_hold(path: Path, folder: Path) -> None:
    """BadParameter unless files can be written to the folder, or to what of it is there."""
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"{str(path)!r} cannot be written: {folder} is no folder that you may write to")


def apart(**paths: Path | None) -> None:
    """The paths by what they are for; BadParameter if two are one file, of which one would be lost."""
    seen: dict[str, str] = {}
    for what, path in paths.items():
        other = seen.setdefault(os.path.realpath(path), what) if path is not None else what
        if other != what:
            raise typer.BadParameter(f"{other} and {what} are one file, {str(path)!r}; give each its own")


def made_room(path: Path) -> Path:
    """The path, its folder there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
