"""From what an entry's file asks for to its edit: a rule, or a composition of other entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import edits
from rewrite import composition, rules
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.library.manifest import COMPOSE, RECIPE, File
from rewrite.progress import Progress
from rewrite.rules.files import plain

THREADS = 1
"""Edits of a library are made by one thread: any machine has one, and bytes hang on how many there are."""

Member = Callable[[str], edits.Edit]
"""The edit of another entry of the same model, by its name below the model's."""
Maker = Callable[[Generator, Path, Member, Progress], edits.Edit]


class Composition(BaseModel):
    """Other entries of the same model at strengths, summed, or solved together (`rewrite.composition.resolve`)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str
    members: Annotated[dict[str, Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2)]
    how: Literal["sum", "resolve"] = "sum"


def make(generator: Generator, path: Path, member: Member, progress: Progress) -> edits.Edit:
    """The edit that a file asks for, by as many threads as torch has. RewriteError if it asks for none."""
    _, maker = _kind(path)
    return maker(generator, path, member, progress)


def file_of(path: Path) -> File:
    """The name under which a file that asks for an edit is kept."""
    return _kind(path)[0]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch computes with so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rule(generator: Generator, path: Path, _member: Member, progress: Progress) -> edits.Edit:
    return rules.rule(generator, path, progress=progress)


def _composition(generator: Generator, path: Path, member: Member, progress: Progress) -> edits.Edit:
    asked = _parsed(path)
    if asked.model != generator.name:
        raise RewriteError(f"{path} is for model {asked.model!r} and this is {generator.name!r}; load that model")
    pairs = [(member(name), strength) for name, strength in sorted(asked.members.items())]
    if asked.how == "resolve":
        return composition.resolve(generator, pairs, progress=progress)
    return edits.compose(pairs, made_by={"tool": "rewrite", "verb": "compose"})


KINDS: Mapping[str, tuple[File, Maker]] = {"paste": (RECIPE, _rule), "members": (COMPOSE, _composition)}
"""What a file asks for, by a field that only its kind has: the name under which it is kept, and what makes it."""


def _kind(path: Path) -> tuple[File, Maker]:
    said = plain(path)
    found = [kind for field, kind in KINDS.items() if isinstance(said, dict) and field in said]
    if len(found) != 1:
        raise RewriteError(
            f"{path} asks for no edit that a library holds; expected one of the fields {', '.join(KINDS)}"
        )
    return found[0]


def _parsed(path: Path) -> Composition:
    said: Any = plain(path)
    # YAML writes 1 where it means 1.0.
    if isinstance(members := said.get("members"), dict):
        said = said | {"members": {name: float(x) if type(x) is int else x for name, x in members.items()}}
    try:
        return Composition.model_validate(said)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False)[0]
        raise RewriteError(f"{path}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}") from None
