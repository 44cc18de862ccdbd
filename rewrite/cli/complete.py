"""What a Tab offers: names of models, checkpoint files, edit files."""

from __future__ import annotations

from pathlib import Path

MODELS = ("scenes", "ffhq", "faces64")
"""Names in the zoo, which itself takes too long to import for a Tab."""


def models(incomplete: str) -> list[str]:
    """Models by name, and checkpoint files."""
    return [name for name in MODELS if name.startswith(incomplete)] + edits(incomplete)


def edits(incomplete: str) -> list[str]:
    """Safetensors files and folders that begin like this."""
    start = incomplete if incomplete.endswith("/") or not incomplete else str(Path(incomplete).parent)
    try:
        found = sorted(Path(start or ".").expanduser().iterdir())
    except OSError:
        return []
    head = incomplete[: incomplete.rfind("/") + 1]
    names = [
        head + path.name + "/" * path.is_dir()
        for path in found
        if (path.is_dir() or path.suffix == ".safetensors") and not path.name.startswith(".")
    ]
    return [name for name in names if name.startswith(incomplete)]
