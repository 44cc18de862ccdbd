"""rewrite compose"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli import complete
from rewrite.cli.arguments import apart, made_room
from rewrite.cli.generators import opened
from rewrite.cli.names import named
from rewrite.cli.options import Device, EditArguments, EditOut
from rewrite.cli.voice import Voice, brief, facts_table, table

if TYPE_CHECKING:
    import edits

MEMBERS = ("member", "content", "coefficient", "touches")
KEPT = ("rule", "strength", "layer", "loss in a sum", "loss", "residual alone", "residual in a sum", "residual")
LAYERS = ("layer", "background shift of the sum", "background shift", "gain drift of the sum", "gain drift", "rank")

Resolve = Annotated[
    str | None,
    typer.Option(
        "--resolve", metavar="MODEL", help="Solve the rules anew on this model, so that each one keeps its effect.",
        autocompletion=complete.models,
    ),
]  # fmt: skip


def compose(voice: Voice, edit: EditArguments, out: EditOut, resolve: Resolve = None, device: Device = "cpu") -> None:
    """Put several edits into one file.

    It does what they do together, to the bit, and keeps them and their strengths apart. With --resolve it also holds
    what makes each rule do beside the others what it does alone.
    """
    for one in edit:
        apart(E=one.path, MODEL=None if resolve is None else Path(resolve), **{"--out": out})
    import edits

    pairs = [one.load() for one in edit]
    names = named(edit, [loaded for loaded, _ in pairs])
    if resolve is None:
        composed = edits.compose([(one, one.strength if strength is None else strength) for one, strength in pairs])
    else:
        from rewrite import composition

        generator = opened(voice, resolve, device)
        with voice.progress() as progress:
            composed = composition.resolve(generator, pairs, progress=progress)
    composed.save(made_room(out))
    facts = {
        "out": str(out),
        "bytes": out.stat().st_size,
        "content": composed.content,
        "members": [
            {"content": member.content, "coefficient": coefficient, "touched": list(member.touched)}
            for member, coefficient in composed.members
        ],
        "notes": dict(composed.notes),
    }
    lines = [("edit", f"{out}, {facts['bytes']:,} bytes"), ("content", composed.content)]
    members = [
        (names.get(one.content, "correction"), one.content[:12], strength, ", ".join(one.touched))
        for one, strength in composed.members
    ]
    parts = [facts_table([*lines, ("resolved", composed.notes.get("said"))])]
    voice.result(facts, *parts, table(MEMBERS, members), *_solved(composed, names))


def _solved(composed: edits.Edit, names: Mapping[str, str]) -> list[Any]:
    """Tables of what a resolve did."""
    layers = composed.notes.get("layers") or []
    kept = [
        (
            names[rule["content"]], rule["strength"], layer["layer"],
            *brief(
                rule["loss_in_sum"], rule["loss"], rule["residual_alone"], rule["residual_in_sum"], rule["residual"]
            ),
        )
        for layer in layers
        for rule in layer["rules"]
    ]  # fmt: skip
    shifts = [
        (
            layer["layer"],
            *brief(
                layer["background_shift_of_sum"], layer["background_shift"], layer["gain_drift_of_sum"],
                layer["gain_drift"],
            ),
            layer["rank"],
        )
        for layer in layers
    ]  # fmt: skip
    return [table(KEPT, kept), table(LAYERS, shifts)] if kept else []
