"""rewrite card"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli.arguments import apart, made_room, writable
from rewrite.cli.options import EditArgument
from rewrite.cli.voice import Voice, facts_table

if TYPE_CHECKING:
    import edits

LARGEST = 2**20

CardOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Where the card goes, if not beside E.", parser=writable),
]
SheetFile = Annotated[Path | None, typer.Option("--sheet", metavar="FILE", help="A picture for the card (.png).")]
Licence = Annotated[str | None, typer.Option("--licence", metavar="NAME", help="The edit's: mit, cc-by-nc-4.0, ...")]
VerdictFile = Annotated[
    Path | None, typer.Option("--verdict", metavar="FILE", help="A verdict.json, if not the one beside E.")
]
PushTo = Annotated[
    str | None, typer.Option("--push", metavar="hf://USER/REPO", help="Put edit, card and sheet on the hub.")
]
Private = Annotated[bool, typer.Option("--private", help="With --push: a repository that is made is private.")]


def card(
    voice: Voice,
    edit: EditArgument,
    out: CardOut = None,
    sheet: SheetFile = None,
    licence: Licence = None,
    verdict: VerdictFile = None,
    push: PushTo = None,
    private: Private = False,
) -> None:
    """Write a model card for an edit, and put both on the Hugging Face hub.

    verdict.json (also in a folder `check`) and bounds.json beside the edit are part of it, if they are of this edit.
    """
    import edits
    from edits.file import write_atomically
    from rewrite import hub
    from rewrite.report.card import Card

    to = None if push is None else hub.address(push)
    if push is not None and to is None:
        raise typer.BadParameter(f"{push!r} is no address on the hub; give hf://user/repo")
    path = hub.local(edit)
    out = out or writable((Path(path.name) if hub.address(edit) else path).with_suffix(".md"))
    apart(E=path, **{"--out": out, "--sheet": sheet, "--verdict": verdict})
    loaded = edits.load(path)
    found = _verdict(verdict, loaded) if verdict else _beside(path.parent, loaded)
    bounds = _of(path.with_name("bounds.json"), loaded)
    if sheet is not None and not sheet.is_file():
        raise typer.BadParameter(f"there is no picture {str(sheet)!r}; give the path of one")
    where = hub.Address(to.repo, to.file or path.name, to.revision) if to else hub.address(edit)
    made = Card(
        edit=loaded, file=path.name, size=path.stat().st_size, licence=licence, model=_model(loaded),
        sheet=None if sheet is None else sheet.name if to else os.path.relpath(sheet, out.parent),
        verdict=found, bounds=bounds, address=str(where) if where else None,
    )  # fmt: skip
    text = made.markdown().encode()
    write_atomically(made_room(out), text)
    url = None
    if to is not None and where is not None:
        files: dict[str, Path | bytes] = {where.file: path, "README.md": text}
        files |= {sheet.name: sheet} if sheet else {}
        url = hub.push(to, files, message=f"Edit {loaded.content[:12]}", private=private)
    if licence is None:
        voice.note("the card states no licence of the edit; say --licence")
    outcome = found and found.get("outcome")
    facts = {"out": str(out), "content": loaded.content, "verdict": outcome, "address": made.address, "pushed": url}
    voice.result(facts, facts_table([("card", str(out)), ("verdict", outcome), ("pushed", url)]))


def _model(edit: edits.Edit) -> dict[str, Any] | None:
    """What the zoo knows of the model that the recipe names."""
    from rewrite.models import ZOO

    recipes = [edit.recipe, *(member.recipe for member, _ in edit.members)]
    names = {recipe.get("model") for recipe in recipes if isinstance(recipe, dict)}
    name = names.pop() if len(names) == 1 else None
    return {"name": name, **ZOO[name].card} if isinstance(name, str) and name in ZOO else None


def _verdict(path: Path, edit: edits.Edit) -> dict[str, Any]:
    found = _of(path, edit)
    if found is None:
        raise typer.BadParameter(f"{str(path)!r} is no verdict on edit {edit.content[:12]} alone; write one with check")
    return found


def _beside(folder: Path, edit: edits.Edit) -> dict[str, Any] | None:
    found = (_of(folder / name, edit) for name in ("verdict.json", "check/verdict.json"))
    return next((one for one in found if one is not None), None)


def _of(path: Path, edit: edits.Edit) -> dict[str, Any] | None:
    """The facts in a file, if they are of this edit and no other."""
    from edits import EditError, canonical
    from edits.file import read_regular

    try:
        facts = canonical.parse(read_regular(path, LARGEST))
    except (OSError, EditError):
        return None
    if not isinstance(facts, dict):
        return None
    listed = facts.get("edits") or []
    named = [one.get("content") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return facts if [edit.content] in ([facts.get("edit")], named) else None
