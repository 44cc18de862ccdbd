"""A new entry: made from its recipe, judged, written down whole or not at all."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import edits
from edits.file import pack, read_regular
from rewrite.check import Limit, Remembered, Verdict
from rewrite.check.bounds import measured
from rewrite.check.findings import LEAST_EFFECT, limits_of
from rewrite.check.gate import Judgement, judge
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.library.composed import Member
from rewrite.library.judge import judged
from rewrite.library.likeness import moved, sketch, stored
from rewrite.library.make import THREADS, file_of, make
from rewrite.library.manifest import BOUNDS, CARD, EDIT, LARGEST, SHEET, Entry, File, Look, Manifest, Name, read
from rewrite.library.placed import placed_in
from rewrite.library.shelf import Library
from rewrite.library.shown import card_of, sheet_of
from rewrite.library.verification import edit_of
from rewrite.progress import Progress, quiet
from rewrite.threads import threads

RECIPES_ONLY = frozenset({"ffhq"})
"""Models whose terms do not let us pass on what is made of their weights: their edits are made where they are used."""
TOLERANCE = 1e-4
"""Fifty times what a processor without vector instructions makes of the same sums, on the rules of `ffhq`; no recipe
that was changed is so near to what it was."""
MOST = 1_000_000
"""Bytes of an edit that a library ships."""


@dataclass(frozen=True)
class Added:
    """What became of a request for an entry."""

    entry: Entry | None
    """None where it was refused for what is `lacking`; then the library is as it was."""
    edit: edits.Edit
    verdict: Verdict
    lacking: tuple[Judgement, ...]
    """Findings that are not within what is usual, and were not waived."""


def add(
    library: Library,
    name: str,
    recipe: Path,
    generator: Generator,
    *,
    waive: Collection[str] = (),
    replace: bool = False,
    remembered: Remembered | None = None,
    progress: Progress = quiet,
    **look: Any,
) -> Added:
    """Make the edit that the file `recipe` asks for, judge it, and keep it as entry `name`, `<model>/<name>`.

    `look` are the fields of a `Look`; truncation is the recipe's unless it is among them. It is refused unless it
    passes the usual limits of `rewrite.check` and shows (LEAST_EFFECT), but for the findings in `waive`. Its bounds are
    what was found, with the room of `rewrite.check.bounds.ROOM`. `remembered` keeps what is seen of the base, for
    further entries. RewriteError for a name that is taken (unless `replace`), a recipe that leaves a choice to the
    figures or does not stand on its own, an edit of more than MOST bytes, and another generator.
    """
    model = _model(library, name, generator, replace)
    _check_free(library.folder(name), recipe, replace)
    content = _bytes(recipe)

    def member(other: str) -> edits.Edit:
        return edit_of(library, f"{model}/{other}", generator, progress)

    kept_as, edit = _made(generator, recipe, content, member, progress)
    shipped, size = model not in RECIPES_ONLY, sum(len(chunk) for chunk in pack(edit))
    if shipped and size > MOST:
        raise RewriteError(
            f"{name} takes {size:,} bytes; expected {MOST:,} at most, for libraries are small; lower its rank"
        )
    looked = _look({"truncation": _truncation(edit)} | look)
    verdict = judged(generator, edit, looked, progress, remembered=remembered)
    found = verdict.findings
    judgements = (*verdict.judgements, judge("effect", found["effect"], Limit(least=LEAST_EFFECT)))
    beyond = [one for one in judgements if one.outcome != "PASS"]
    lacking = tuple(one for one in beyond if one.name not in waive)
    if lacking:
        return Added(None, edit, verdict, lacking)
    bounds = measured(found, limits_of(found), edit.content, dict(verdict.conditions))
    waived = tuple(sorted(one.name for one in beyond))
    files: dict[File, bytes] = {kept_as: content, BOUNDS: bounds.text()}
    if shipped:
        files[EDIT] = b"".join(pack(edit))
        files[SHEET] = sheet_of(generator, edit, verdict, looked.truncation, progress)
    files[CARD] = card_of(name, generator, edit, verdict, bounds, ", ".join(waived), shipped=shipped).encode()
    entry = Entry(
        content=edit.content,
        files={file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
        limits=bounds.limits,
        look=looked,
        waived=waived,
        threads=THREADS,
        tolerance=TOLERANCE,
        sketch=None if shipped else stored(sketch(moved(edit, edits.identity.state(generator.module)))),
    )
    with placed_in(library.folder(name), files):
        # Read anew: others may have been added since the library was opened.
        before = read(library.root)
        try:
            Manifest(entries=before.entries | {name: entry}).save(library.root)
        except BaseException:
            if read(library.root) != before:
                before.save(library.root)
            raise
    return Added(entry, edit, verdict, ())


def _model(library: Library, name: str, generator: Generator, replace: bool) -> str:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise RewriteError(
            f"{name!r} is no name of an entry; expected MODEL/NAME of small letters, digits and hyphens"
        ) from None
    model = name.split("/")[0]
    if generator.name != model:
        raise RewriteError(f"{name} is an edit of {model}, and the generator is {generator.name!r}; load {model}")
    if name in library.manifest.entries and not replace:
        raise RewriteError(f"the library has {name} already; give it another name, or say --replace")
    return model


def _check_free(folder: Path, recipe: Path, replace: bool) -> None:
    """The entry's folder may hold its recipe already, and nothing else that would be lost."""
    others = [path.name for path in folder.glob("*") if path.resolve() != recipe.resolve()]
    if others and not replace:
        raise RewriteError(f"{folder} holds {min(others)}, which would be lost; move it away, or say --replace")


def _made(
    generator: Generator, recipe: Path, content: bytes, member: Member, progress: Progress
) -> tuple[File, edits.Edit]:
    """Under which name a recipe is kept, and its edit."""
    with tempfile.TemporaryDirectory() as alone:
        # Away from where it lay, so that it cannot hang on files beside it.
        path = Path(alone) / recipe.name
        path.write_bytes(content)
        kept_as = file_of(path)
        with threads(THREADS):
            edit = make(generator, path, member, progress)
    if "auto" in edit.notes:
        raise RewriteError(
            f"{recipe} leaves a choice to the figures, which on another machine may choose otherwise; write down what "
            f"they chose: {_chosen(edit.notes['auto'])}"
        )
    return kept_as, edit


def _bytes(recipe: Path) -> bytes:
    try:
        return read_regular(recipe, LARGEST)
    except OSError as error:
        raise RewriteError(f"recipe {recipe} cannot be read ({error.strerror}); give the path of a YAML file") from None


def _chosen(auto: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {auto[key]}" for key in ("layer", "rank", "mu", "nu", "strength") if key in auto)


def _truncation(edit: edits.Edit) -> float:
    """The widest that a recipe of the edit's has."""
    recipes = [part.recipe for part, _ in edit.parts(1.0) if isinstance(part.recipe, dict)]
    said = [recipe.get("direction", recipe).get("truncation") for recipe in recipes]
    return max((float(one) for one in said if isinstance(one, int | float)), default=1.0)


def _look(fields: Mapping[str, Any]) -> Look:
    try:
        return Look.model_validate(fields)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False)[0]
        where, said = ".".join(map(str, detail["loc"])), detail["msg"].removeprefix("Value error, ")
        raise RewriteError(f"{where}: {said}" if where else said) from None
