"""rewrite conflict"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli import failure
from rewrite.cli.arguments import Seeds, apart, made_room, writable
from rewrite.cli.generators import opened
from rewrite.cli.names import named
from rewrite.cli.options import Device, EditArguments, ModelName, PreviewOut, PreviewSeeds
from rewrite.cli.voice import Voice, brief, facts_table, table

if TYPE_CHECKING:
    from PIL import Image

    from rewrite.composition import Conflict, Kept
    from rewrite.composition.members import Pair

PREVIEW_SIZE = 192
PREVIEW = Seeds(tuple(range(100, 108)))
TOUCHES = ("edits", "layer", "keys shared", "by chance", "values shared", "by chance", "cosine on natural images")
NOTE = (
    "Of its effect at its own layer: 0 is nothing, 1 all, beyond 1 worse than its absence. Blank: itself, or unknown."
)
LAYERS = ("layer", "rules", "condition number", "capacity in use", "background shift", "of each", "gain drift")

Measure = Annotated[
    bool, typer.Option("--measure", help="Also measure what is left of each rule under none, each and all of them.")
]
MatrixOut = Annotated[
    Path | None,
    typer.Option("--matrix", metavar="FILE", help="A picture of what each loses to each (.png).", parser=writable),
]


def conflict(
    voice: Voice,
    model: ModelName,
    edit: EditArguments,
    measure: Measure = False,
    matrix: MatrixOut = None,
    preview: PreviewOut = None,
    preview_seeds: PreviewSeeds = None,
    device: Device = "cpu",
) -> None:
    """Tell what edits would do to one another in a plain sum.

    A composed edit is looked at as its members, a resolved one too. The sheet of --preview shows none, each and all of
    the files. Exit code 0 is fine or a warning, 1 a conflict.
    """
    for one in edit:
        apart(E=one.path, MODEL=Path(model), **{"--matrix": matrix, "--preview": preview})
    from rewrite import composition
    from rewrite.report import compared, save, sheet

    pairs = [one.load() for one in edit]
    names = named(edit, [loaded for loaded, _ in pairs])
    generator = opened(voice, model, device)
    with voice.progress() as progress:
        found = composition.conflict(generator, pairs, names=names, progress=progress)
        kept = composition.retention(generator, pairs, progress=progress) if measure and not found.clashes else ()
    facts: dict[str, Any] = found.as_json()
    facts |= {"matrix": matrix and str(matrix), "preview": preview and str(preview)}
    if measure:
        facts["retention"] = [vars(one) for one in kept]
    if matrix is not None:
        save(_picture(found), made_room(matrix))
    if preview is not None:
        seeds = (preview_seeds or PREVIEW).values
        rows = {"base": [], **{names[pair[0].content]: [pair] for pair in pairs}}
        rows |= {} if found.clashes else {"all": pairs}
        with voice.progress() as progress:
            images = compared(generator, rows, seeds, PREVIEW_SIZE, **_view(pairs), progress=progress)
        save(sheet(images, seeds, PREVIEW_SIZE), made_room(preview))
    voice.result(facts, *_shown(found), *([_retention(found, kept)] if kept else []))
    if found.verdict.level == "conflict":
        raise typer.Exit(failure.FAILED_CHECK)


def _shown(found: Conflict) -> list[Any]:
    verdict, resolved = found.verdict, found.resolved
    head: list[tuple[str, object]] = [
        ("verdict", verdict.level),
        ("because", verdict.because),
        ("remedy", verdict.remedy),
    ]
    head += [("resolve", f"cannot be had: {found.unresolved}" if found.unresolved else None)]
    names = [party.name for party in found.parties]
    left = resolved.losses if resolved else [None] * len(names)
    losses = [
        (name, party.strength, party.layer, *brief(*row, summed, after))
        for name, party, row, summed, after in zip(
            names, found.parties, found.losses, found.losses_in_sum, left, strict=True
        )
    ]
    columns = ("loss of", "strength", "layer", *(f"to {name}" for name in names), "to all", "in resolve")
    touches = [
        (
            " and ".join(names[i] for i in touch.pair), touch.layer,
            *brief(*vars(touch.overlap).values(), touch.cosine),
        )
        for touch in found.touches
    ]  # fmt: skip
    layers = [
        (
            at.layer, ", ".join(names[i] for i in at.rules), *brief(at.crowd.conditioning, at.crowd.capacity),
            *brief(at.together.background if at.together else None),
            ", ".join(f"{shift.background:.3g}" for shift in at.alone),
            *brief(at.together.drift if at.together else None),
        )
        for at in found.layers
    ]  # fmt: skip
    rounding = [
        (one.parameter, one.dtype, "the sum" if one.party is None else names[one.party], f"{one.lost:.2g}")
        for one in found.rounding
    ]
    return [
        facts_table(head),
        table(columns, losses),
        *([table(TOUCHES, touches)] if touches else []),
        *([table(LAYERS, layers)] if layers else []),
        table(("parameter", "type", "of", "lost to rounding"), rounding),
    ]


def _picture(found: Conflict) -> Image.Image:
    """Every rule's losses: to each edit, to all, and what resolve leaves of them."""
    from rewrite.composition.verdict import THRESHOLDS
    from rewrite.report import matrix

    names, left = [party.name for party in found.parties], found.resolved
    summed = [("all of them", found.losses_in_sum), *([("after resolve", left.losses)] if left else [])]
    limits = {name: getattr(THRESHOLDS["loss"], name) for name in ("warn", "conflict")}
    return matrix(
        [[*row, *after] for row, *after in zip(found.losses, *(column for _, column in summed), strict=True)],
        names,
        [*names, *(name for name, _ in summed)],
        title="What each rule loses in a plain sum",
        note=NOTE,
        down="the loss of",
        across="when summed with",
        apart=len(summed),
        ticks={"0": 0.0, **{f"{limit:g} {name}": limit for name, limit in limits.items()}, "1 and beyond": 1.0},
    )


def _view(pairs: list[Pair]) -> dict[str, Any]:
    """Truncation and label of the first recipe."""
    recipes = [edit.recipe for edit, _ in pairs if isinstance(edit.recipe, dict) and edit.recipe.get("paste")]
    if not recipes:
        return {}
    return {"truncation": recipes[0].get("truncation", 1.0), "label": recipes[0]["paste"][0].get("label")}


def _retention(found: Conflict, kept: Sequence[Kept]) -> Any:
    names = {party.content: party.name for party in found.parties}
    rows = [
        (
            names[one.content], ", ".join(names.get(content, content[:12]) for content in one.under) or "none",
            *brief(one.retention, one.residual),
        )
        for one in kept
    ]  # fmt: skip
    return table(("rule", "under", "retention", "residual"), rows)
