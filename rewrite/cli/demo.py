"""rewrite demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewrite.cli.arguments import folder
from rewrite.cli.options import Device
from rewrite.cli.voice import Voice

Folder = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", help="The folder for edits, sheets and the summary.", parser=folder),
]


def demo(voice: Voice, out: Folder = Path("demo"), device: Device = "cpu") -> None:
    """Run the main job end to end.

    Rules are written into the built-in scenes and, where it can be fetched, into a generator of faces; they are
    composed and undone; sheets and one page show what they did.
    """
    from rewrite.demo import run

    with voice.progress() as progress:
        shown = run(out, device=device, progress=progress)
    for reason in shown.left_out:
        voice.note(reason)
    voice.result(
        {"out": str(out), "page": str(shown.page), "left_out": list(shown.left_out)},
        f"{shown.page}: open it in a browser",
    )
