"""rewrite export"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewrite.cli import complete
from rewrite.cli.arguments import EditAt, edit_at
from rewrite.cli.voice import Voice, facts_table

One = Annotated[
    EditAt,
    typer.Argument(
        metavar="E[:STRENGTH]", help="An edit file, with a strength or its own.",
        parser=edit_at, autocompletion=complete.edits,
    ),
]  # fmt: skip
Folder = Annotated[Path, typer.Option("--peft", metavar="DIR", help="The folder of a PEFT LoRA adapter.")]


def export(voice: Voice, edit: One, peft: Folder) -> None:
    """Write an edit as a LoRA adapter for PEFT.

    A rule of rank r is a LoRA of rank r times the taps of its kernel, number for number.
    """
    from rewrite.checkpoints.peft import CONFIG, WEIGHTS, write

    if peft.exists() and not peft.is_dir():
        raise typer.BadParameter(f"{str(peft)!r} is no folder; give one, or a name for one to be")
    loaded, strength = edit.load()
    config = write(peft, loaded, strength)
    size = sum((peft / name).stat().st_size for name in (WEIGHTS, CONFIG))
    facts = {"out": str(peft), "bytes": size, "content": loaded.content, "config": config}
    ranks = ", ".join(f"{name.strip('^$')} {rank}" for name, rank in config["rank_pattern"].items())
    voice.result(facts, facts_table([("adapter", f"{peft}, {size:,} bytes"), ("ranks", ranks.replace("\\", ""))]))
