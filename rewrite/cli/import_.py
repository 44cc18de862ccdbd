"""rewrite import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewrite.cli import complete
from rewrite.cli.arguments import made_room
from rewrite.cli.generators import opened
from rewrite.cli.options import EditOut
from rewrite.cli.voice import Voice, facts_table

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a PEFT LoRA adapter.")]
Model = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL", help="The model that it was trained on.", autocompletion=complete.models
    ),
]  # fmt: skip


def import_(voice: Voice, adapter: Folder, model: Model, out: EditOut) -> None:
    """Make an edit of a PEFT LoRA adapter.

    An adapter does not say which weights it is for: MODEL is believed to be them.
    """
    from rewrite.checkpoints.peft import read

    edit = read(adapter, opened(voice, model))
    edit.save(made_room(out))
    facts = {
        "out": str(out),
        "bytes": out.stat().st_size,
        "content": edit.content,
        "strength": edit.strength,
        "touched": list(edit.touched),
    }
    lines = [("edit", f"{out}, {facts['bytes']:,} bytes"), ("content", edit.content), ("strength", edit.strength)]
    voice.result(facts, facts_table([*lines, ("touches", ", ".join(edit.touched))]))
