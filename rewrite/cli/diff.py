"""rewrite diff"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rewrite.cli import arguments, complete
from rewrite.cli.arguments import apart, made_room, number
from rewrite.cli.generators import opened
from rewrite.cli.options import EditOut
from rewrite.cli.voice import Voice, facts_table, table

COLUMNS = ("parameter", "rank", "energy kept", "numbers that differ")

Base = Annotated[
    str, typer.Argument(metavar="MODEL_A", help="The base: a name or a checkpoint.", autocompletion=complete.models)
]
Changed = Annotated[
    str, typer.Argument(metavar="MODEL_B", help="What it is to become.", autocompletion=complete.models)
]
Rank = Annotated[Any, typer.Option(metavar="N|full|auto", help="Rank of each change.", parser=arguments.rank)]
Energy = Annotated[float, typer.Option(metavar="X", help="With auto: the share of each change to keep.", parser=number)]


def diff(
    voice: Voice, model_a: Base, model_b: Changed, out: EditOut, rank: Rank = "auto", energy: Energy = 0.999
) -> None:
    """Make an edit of the difference between two checkpoints.

    It makes of the first what the second is, and composes with other edits of the first.
    """
    apart(MODEL_A=Path(model_a), MODEL_B=Path(model_b), **{"--out": out})
    from rewrite.difference import diff as difference

    before, after = opened(voice, model_a), opened(voice, model_b)
    with voice.progress() as progress:
        edit = difference(before, after, rank=rank, energy=energy, progress=progress)
    edit.save(made_room(out))
    notes = dict(edit.notes)
    facts = {"out": str(out), "bytes": out.stat().st_size, "content": edit.content, "notes": notes}
    if notes["left_out"]:
        voice.warn(f"{', '.join(notes['left_out'])} differ too, and are no floating-point numbers; they are left out")
    lines = [
        ("edit", f"{out}, {facts['bytes']:,} bytes"),
        ("content", edit.content),
        ("energy kept", notes["energy_kept"]),
        ("numbers that differ", notes["numbers_that_differ"]),
        ("by at most", notes["largest_difference"]),
    ]
    rows = [
        (name, "dense" if one["rank"] is None else one["rank"], one["energy_kept"], one["differ"])
        for name, one in notes["tensors"].items()
    ]
    voice.result(facts, facts_table(lines), table(COLUMNS, rows))
