"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewrite.cli import complete
from rewrite.cli.arguments import EditAt, Seeds, edit_at, seeds, writable

ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A model's name, or a checkpoint file.", autocompletion=complete.models),
]
EditArgument = Annotated[Path, typer.Argument(metavar="E", help="An edit file.", autocompletion=complete.edits)]
EditArguments = Annotated[
    list[EditAt],
    typer.Argument(
        metavar="E[:STRENGTH]...", help="Edit files, each with a strength or its own.",
        parser=edit_at, autocompletion=complete.edits,
    ),
]  # fmt: skip
EditOptions = Annotated[
    list[EditAt] | None,
    typer.Option(
        "--edit", "-e", metavar="E[:STRENGTH]", help="An edit file to apply; may be given again.",
        parser=edit_at, autocompletion=complete.edits,
    ),
]  # fmt: skip
SeedsOption = Annotated[
    Seeds | None,
    typer.Option("--seeds", metavar="SEEDS", help="Seeds and ranges: 3,7,20-25.", parser=seeds, show_default="0-15"),
]
PreviewSeeds = Annotated[
    Seeds | None,
    typer.Option("--preview-seeds", metavar="SEEDS", help="Its seeds.", parser=seeds, show_default="100-107"),
]
PreviewOut = Annotated[
    Path | None,
    typer.Option("--preview", metavar="FILE", help="A sheet of base and edited images (.png).", parser=writable),
]
EditOut = Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the edit goes.", parser=writable)]
PictureOut = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="Where the picture goes (.png).", parser=writable)
]
CheckpointOut = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="Where the checkpoint goes.", parser=writable)
]
Device = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, mps.")]
Force = Annotated[bool, typer.Option("--force", help="Apply edits to weights that they were not made for.")]
