"""rewrite demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewrite.cli.options import Device
from rewrite.cli.voice import Voice

Folder = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for edits, sheets and the summary.")
]


def demo(voice: Voice, out: Folder = Path("demo"), device: Device = "cpu") -> None:
    """Run the main job end to end.

    Two rules are written into a face generator, composed and undone; sheets and one page show what they did.
    """
    from rewrite.demo import run

    with voice.progress() as progress:
        page = run(out, device=device, progress=progress)
    voice.result({"out": str(out), "page": str(page)}, f"{page}: open it in a browser")
