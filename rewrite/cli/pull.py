"""rewrite pull"""

from __future__ import annotations

from typing import Annotated

import typer

from rewrite.cli import complete
from rewrite.cli.voice import Voice, facts_table

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model's name.", autocompletion=complete.models)]


def pull(voice: Voice, name: Name) -> None:
    """Fetch a model into the cache, unless it is there."""
    from rewrite.models import ZOO
    from rewrite.models import pull as fetched

    with voice.progress() as progress:
        path = fetched(name, progress=progress)
    facts = {"name": name, "path": str(path), "bytes": path.stat().st_size, "licence": ZOO[name].licence}
    voice.result(facts, facts_table(list(facts.items())))
