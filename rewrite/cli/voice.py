"""How the command speaks: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rewrite.progress import Progress

WIDE = 400
"""Columns where the reader is no terminal: nothing is folded, so that it can be searched for."""


@dataclass(frozen=True)
class Voice:
    """Speaks for one run of one verb."""

    json: bool = False
    quiet: bool = False

    def result(self, facts: Any, *shown: RenderableType) -> None:
        """The outcome: `facts` as JSON where it was asked for, or else what is `shown` to people."""
        if self.json:
            print(json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False), flush=True)  # noqa: T201
            return
        from rich.console import Console

        console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        if not console.is_terminal:
            console.width = WIDE
        for part in shown:
            console.print(plain(part) if isinstance(part, str) else part, soft_wrap=isinstance(part, str))

    def note(self, line: str) -> None:
        """A word on what is going on."""
        if not self.quiet:
            self.warn(line)

    def warn(self, line: str) -> None:
        """Something that a person should know, even where quiet was asked for."""
        say(line)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A Progress that draws bars on stderr, gone when done; a silent one where nobody watches."""
        if self.json or self.quiet or not sys.stderr.isatty():
            yield lambda _what, _done, _total: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bars(*columns, console=Console(file=sys.stderr), transient=True) as bars:
            tasks: dict[str, TaskID] = {}

            def progress(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what)
                bars.update(tasks[what], completed=done, total=total, visible=done < total)

            yield progress


def say(line: str) -> None:
    """One line on stderr, where there is somebody to tell."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"rewrite: {plain(' '.join(line.split()))}\n")
        settle(sys.stderr)


def settle(stream: TextIO | None) -> None:
    """Flush; a stream that is full, or whose reader has left, is sent nowhere.

    Python's own flush at the end would fail on it, and put an exit code of its own in place of ours.
    """
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def plain(text: str) -> str:
    """The text without what would steer a terminal: it may quote a file."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> RenderableType:
    """A plain table; cells are taken as they are, and one that is a number is set flush right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=title and plain(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], int | float | None) for row in rows)
        made.add_column(Text(_cell(column)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(_cell(value)) for value in row))
    return made


def facts_table(facts: Sequence[tuple[str, object]]) -> RenderableType:
    """Two columns without a head: what, and its value; None values are left out."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in facts:
        if value is not None and value != "":
            made.add_row(Text(_cell(name)), Text(_cell(value)))
    return made


def brief(*figures: float | None) -> tuple[float | None, ...]:
    """Figures in three digits, for people; below a thousandth they are 0."""
    return tuple(None if one is None else 0.0 if abs(one) < 1e-3 else float(f"{one:.3g}") for one in figures)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return plain(f"{value:.6g}" if isinstance(value, float) else str(value))
