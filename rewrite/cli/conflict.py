"""rewrite conflict"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli import failure
from rewrite.cli.arguments import Seeds, apart, made_room
from rewrite.cli.generators import opened
from rewrite.cli.options import Device, EditArguments, ModelName, PreviewOut, PreviewSeeds
from rewrite.cli.voice import Voice, facts_table, table

if TYPE_CHECKING:
    from rewrite.composition import Conflict, Kept
    from rewrite.composition.members import Pair

PREVIEW_SIZE = 192
PREVIEW = Seeds(tuple(range(100, 108)))
TOUCHES = ("edits", "layer", "keys shared", "by chance", "values shared", "by chance", "cosine on natural images")
LAYERS = ("layer", "rules", "condition number", "capacity in use", "background shift", "of each", "gain drift")

Measure = Annotated[
    bool, typer.Option("--measure", help="Also measure what is left of each rule under none, each and all of them.")
]


def conflict(
    voice: Voice,
    model: ModelName,
    edit: EditArguments,
    measure: Measure = False,
    preview: PreviewOut = None,
    preview_seeds: PreviewSeeds = None,
    device: Device = "cpu",
) -> None:
    """Tell what edits would do to one another in a plain sum.

    The sheet of --preview shows none, each and all of them. Exit code 0 is fine or a warning, 1 a conflict.
    """
    apart(MODEL=Path(model), **{"--preview": preview})
    from rewrite import composition
    from rewrite.report import compared, save, sheet

    pairs = [one.load() for one in edit]
    names = {loaded.content: one.path.stem for one, (loaded, _) in zip(edit, pairs, strict=True)}
    generator = opened(voice, model, device)
    with voice.progress() as progress:
        found = composition.conflict(generator, *pairs, names=names, progress=progress)
        kept = composition.retention(generator, pairs, progress=progress) if measure and not found.clashes else ()
    facts: dict[str, Any] = found.as_json() | {"preview": preview and str(preview)}
    if measure:
        facts["retention"] = [vars(one) for one in kept]
    if preview is not None:
        seeds = (preview_seeds or PREVIEW).values
        rows = {"base": [], **{one.path.stem: [pair] for one, pair in zip(edit, pairs, strict=True)}}
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
        (name, party.strength, party.layer, *row, summed, after)
        for name, party, row, summed, after in zip(
            names, found.parties, found.losses, found.losses_in_sum, left, strict=True
        )
    ]
    columns = ("loss of", "strength", "layer", *(f"to {name}" for name in names), "to all", "in resolve")
    touches = [
        (
            " and ".join(names[i] for i in touch.pair), touch.layer, touch.overlap.key, touch.overlap.key_chance,
            touch.overlap.value, touch.overlap.value_chance, touch.cosine,
        )
        for touch in found.touches
    ]  # fmt: skip
    layers = [
        (
            at.layer, ", ".join(names[i] for i in at.rules), at.crowd.conditioning, at.crowd.capacity,
            at.together and at.together.background, ", ".join(f"{shift.background:.3g}" for shift in at.alone),
            at.together and at.together.drift,
        )
        for at in found.layers
    ]  # fmt: skip
    rounding = [
        (one.parameter, one.dtype, "the sum" if one.party is None else names[one.party], one.lost)
        for one in found.rounding
    ]
    return [
        facts_table(head),
        table(columns, losses),
        *([table(TOUCHES, touches)] if touches else []),
        *([table(LAYERS, layers)] if layers else []),
        table(("parameter", "type", "of", "lost to rounding"), rounding),
    ]


def _view(pairs: list[Pair]) -> dict[str, Any]:
    """Truncation and label of the first recipe."""
    recipes = [edit.recipe for edit, _ in pairs if isinstance(edit.recipe, dict) and edit.recipe.get("paste")]
    if not recipes:
        return {}
    return {"truncation": recipes[0].get("truncation", 1.0), "label": recipes[0]["paste"][0].get("label")}


def _retention(found: Conflict, kept: Sequence[Kept]) -> Any:
    names = {party.content: party.name for party in found.parties}
    rows = [
        (names[one.content], ", ".join(names.get(content, content[:12]) for content in one.under), one.retention,
         one.residual)
        for one in kept
    ]  # fmt: skip
    return table(("rule", "under", "retention", "residual"), rows)
