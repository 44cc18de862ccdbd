"""A table on the screen, and the same figures in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edits.file import write_atomically

WIDTH = 180


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; all columns but the first are figures."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=WIDTH).print(table)


def keep(out: Path | None, facts: dict[str, Any]) -> None:
    """Write figures as JSON, whole or not at all; nowhere if `out` is None."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, (json.dumps(facts, indent=1) + "\n").encode())


def short(value: float, digits: int = 3) -> str:
    """So many significant digits; 0 only for what is exactly 0."""
    return "0" if value == 0 else f"{value:.{digits}g}"


def between(low: float, high: float) -> str:
    return f"[{short(low)}, {short(high)}]"
