"""rewrite library list, show, build, add, verify"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli import failure
from rewrite.cli.arguments import made_room, number
from rewrite.cli.check import Concept, Distance, Eye, First
from rewrite.cli.generators import opened
from rewrite.cli.options import EditOut
from rewrite.cli.verb import spoken
from rewrite.cli.voice import Voice, facts_table, table

if TYPE_CHECKING:
    from rewrite.check.gate import Judgement
    from rewrite.generator import Generator
    from rewrite.library import Added, Entry, Library, Verified

CODES = {"PASS": failure.SUCCESS, "FAIL": failure.FAILED_CHECK, "MORE": failure.UNDECIDED}

At = Annotated[Path | None, typer.Option("--at", metavar="DIR", help="A library of your own, not the package's.")]
EntryName = Annotated[str, typer.Argument(metavar="NAME", help="An entry, as MODEL/NAME.")]
EntryNames = Annotated[
    list[str] | None, typer.Argument(metavar="[MODEL[/NAME]]...", help="Entries, or all of a model.")
]
RecipeFile = Annotated[
    Path,
    typer.Option("--recipe", metavar="FILE", help="What it is made from: a rule, units, a direction, a composition."),
]
Box = Annotated[str | None, typer.Option("--region", metavar="R", help="Where it may act: x0,y0,x1,y1 in fractions.")]
Seeds = Annotated[int, typer.Option("--samples", "-n", min=8, help="Seeds that its bounds are judged on.")]
FewerSeeds = Annotated[
    int | None, typer.Option("--samples", "-n", min=8, help="Judge on so many seeds, not on each entry's own number.")
]
Truncation = Annotated[
    float | None,
    typer.Option("--truncation", metavar="X", help="Of the images looked at, if not the recipe's.", parser=number),
]
Waive = Annotated[
    str | None,
    typer.Option("--waive", metavar="F[,F]", help="Findings that need not be within what is usual: harm, tone, ..."),
]
Replace = Annotated[bool, typer.Option("--replace", help="In place of the entry that has the name.")]
Quick = Annotated[bool, typer.Option("--quick", help="Made again, applied, shown on 4 seeds and undone; not judged.")]
SkipAbsent = Annotated[
    bool, typer.Option("--skip-absent", help="Pass over a model that is neither here nor can be fetched.")
]

library = typer.Typer(
    name="library", help="Saved edits of the built-in models: made again, applied, judged and undone.",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip


def list_(voice: Voice, at: At = None) -> None:
    """List the entries of the library."""
    shelf = _library(at)
    facts = [_facts(shelf, name) for name in shelf.names]
    rows = [
        (one["name"], one["content"][:12], "yes" if one["shipped"] else "from its recipe", one["judged"], one["waived"])
        for one in (
            fact | {"judged": _limits(fact["limits"]), "waived": ", ".join(fact["waived"]) or None} for fact in facts
        )
    ]
    voice.result(facts, table(("entry", "content", "shipped", "bounds", "beyond the usual"), rows))


def show(voice: Voice, name: EntryName, at: At = None) -> None:
    """Show an entry: where its files are, what it was judged with, and what its bounds are."""
    shelf = _library(at)
    facts = _facts(shelf, name)
    look = [(key, ", ".join(map(str, x)) if isinstance(x, list) else x) for key, x in facts["look"].items()]
    lines: list[tuple[str, object]] = [
        ("entry", name),
        ("content", facts["content"]),
        ("folder", facts["folder"]),
        ("files", ", ".join(facts["files"])),
        ("bounds", _limits(facts["limits"])),
        ("beyond the usual", ", ".join(facts["waived"])),
        *look,
        ("threads", facts["threads"]),
        ("tolerance", facts["tolerance"]),
    ]
    recipe = shelf.folder(name) / shelf.entry(name).recipe
    voice.result(facts, facts_table(lines), recipe.read_text() if recipe.is_file() else "")


def build(voice: Voice, name: EntryName, out: EditOut, at: At = None) -> None:
    """Write an entry's edit to a file; one that is not shipped is made from its recipe first."""
    from rewrite.library import edit_of

    shelf = _library(at)
    if shelf.entry(name).is_shipped:
        edit = shelf.edit(name)
    else:
        generator = opened(voice, name.split("/")[0])
        with voice.progress() as progress:
            edit = edit_of(shelf, name, generator, progress)
    edit.save(made_room(out))
    facts = {"out": str(out), "bytes": out.stat().st_size, "content": edit.content}
    voice.result(facts, facts_table([("edit", f"{out}, {facts['bytes']:,} bytes"), ("content", edit.content)]))


def add(
    voice: Voice,
    name: EntryName,
    recipe: RecipeFile,
    region: Box = None,
    concept: Concept = None,
    samples: Seeds = 1000,
    first: First = 0,
    truncation: Truncation = None,
    eye: Eye = "lite0@64/320",
    distance: Distance = "pd-lite0",
    waive: Waive = None,
    replace: Replace = False,
    at: At = None,
) -> None:
    """Make an edit from its recipe, judge it, and keep it with its bounds, sheet and card.

    It is refused, and nothing is written, where it is not within the usual limits of `rewrite check`: exit code 1, or 3
    where its seeds do not tell. --waive names the findings that are meant to be beyond them.
    """
    from rewrite import library as room

    shelf, model = _library(at), name.split("/")[0]
    generator = opened(voice, model)
    look: dict[str, Any] = {"samples": samples, "first": first, "eye": eye, "distance": distance, "concept": concept}
    look |= {"region": tuple(float(number(x)) for x in region.split(","))} if region else {}
    look |= {"truncation": truncation} if truncation is not None else {}
    look |= {"segmenter": "scenes"} if model == "scenes" else {}
    with voice.progress() as progress:
        added = room.add(
            shelf, name, recipe, generator,
            waive=waive.split(",") if waive else (), replace=replace, progress=progress, **look,
        )  # fmt: skip
    said = (
        "kept" if added.entry else f"refused: {', '.join(one.name for one in added.lacking)}; lower it, or --waive it"
    )
    facts = {"name": name, "content": added.edit.content, "kept": added.entry is not None} | added.verdict.facts
    summary = [("entry", name), ("content", added.edit.content), ("said", said), ("folder", str(shelf.folder(name)))]
    voice.result(facts, facts_table(summary), _findings(added))
    if added.lacking:
        failed = any(one.outcome == "FAIL" for one in added.lacking)
        raise typer.Exit(failure.FAILED_CHECK if failed else failure.UNDECIDED)


def verify(
    voice: Voice,
    names: EntryNames = None,
    samples: FewerSeeds = None,
    quick: Quick = False,
    skip_absent: SkipAbsent = False,
    at: At = None,
) -> None:
    """Test the entries: made again from their recipes, applied, judged by their bounds, and undone to the bit.

    Exit code 0 where all pass, 1 where one does not, 3 where the seeds of one do not tell.
    """
    from rewrite import library as room

    shelf = _library(at)
    chosen = shelf.chosen(names or [])

    def load(model: str) -> Generator | None:
        return _loaded(voice, model, skip_absent)

    found = []
    with voice.progress() as progress:
        for one in room.verify(shelf, chosen, load, samples=samples, quick=quick, progress=progress):
            voice.note(f"{one.name}: {_outcome(one)}, {one.seconds} s")
            found.append(one)
    outcomes = {one.outcome for one in found}
    outcome = "FAIL" if "FAIL" in outcomes else "MORE" if "MORE" in outcomes else "PASS"
    facts = {"outcome": outcome, "entries": [_verified(one) for one in found]}
    rows = [(one.name, _outcome(one), _again(one), one.seconds, one.wrong) for one in found]
    voice.result(facts, table(("entry", "verdict", "made again", "seconds", "because"), rows))
    if code := CODES[outcome]:
        raise typer.Exit(code)


for verb in (list_, show, build, add, verify):
    library.command(verb.__name__.rstrip("_"))(spoken(verb))


def _library(at: Path | None) -> Library:
    from rewrite.library import opened as shelf

    return shelf(at)


def _loaded(voice: Voice, model: str, skip_absent: bool) -> Generator | None:
    from rewrite.errors import Absent

    try:
        return opened(voice, model)
    except Absent as error:
        if not skip_absent:
            raise
        voice.warn(f"{model} is passed over: {error}")
        return None


def _facts(shelf: Library, name: str) -> dict[str, Any]:
    entry: Entry = shelf.entry(name)
    said = entry.model_dump(mode="json", exclude_none=True)
    return {"name": name, "shipped": entry.is_shipped, "folder": str(shelf.folder(name)), "waived": []} | said


def _limits(limits: dict[str, dict[str, float]]) -> str:
    words = {"most": "at most", "least": "at least"}
    return ", ".join(f"{name} {words[side]} {x:.3g}" for name, of in limits.items() for side, x in of.items())


def _findings(added: Added) -> Any:
    lacking = {one.name for one in added.lacking}
    judged: list[Judgement] = [*added.verdict.judgements]
    judged += [one for one in added.lacking if one.name not in {known.name for known in judged}]
    rows = [
        (
            one.name, f"{one.finding.value:.3g}", f"{one.finding.low:.3g} to {one.finding.high:.3g}", one.asked,
            one.outcome if one.name in lacking or one.outcome == "PASS" else f"{one.outcome}, waived",
        )
        for one in judged
    ]  # fmt: skip
    return table(("finding", "value", "95 % interval", "limit", "verdict"), rows)


def _outcome(one: Verified) -> str:
    return one.outcome or "passed over"


def _again(one: Verified) -> str | None:
    if one.apart is None:
        return None
    return "same bytes" if one.apart == 0 else f"same weights, {one.apart:.1g} apart"


def _verified(one: Verified) -> dict[str, Any]:
    return {
        "name": one.name,
        "outcome": one.outcome,
        "apart": one.apart,
        "wrong": one.wrong,
        "seconds": one.seconds,
        "findings": {name: finding.facts for name, finding in one.verdict.findings.items()} if one.verdict else None,
    }
