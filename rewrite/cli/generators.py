"""The generator that a verb works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewrite.cli.voice import Voice

if TYPE_CHECKING:
    from rewrite.generator import Generator


def opened(voice: Voice, model: str, device: str = "cpu") -> Generator:
    """The generator of a name or a file; a model that is not here yet is fetched, with a word about it."""
    from rewrite.models import ZOO, cached, load, pull

    if model in ZOO and not cached(model).exists():
        voice.note(f"fetching {model} ({ZOO[model].about}) at first use; `rewrite models` tells its licence")
        with voice.progress() as progress:
            pull(model, progress=progress)
    return load(model, device=device)
