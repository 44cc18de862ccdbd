"""Edits and stacks as small tables of HTML, for notebooks. Whatever they say is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edits.edit import Edit
    from edits.stack import Stack

MOST_ROWS = 20
LONGEST = 80


def edit(shown: Edit) -> str:
    """What an edit does, a row an operation, and its figures."""
    rows = [
        (row.parameter, f"{row.kind}, {row.form}", " x ".join(map(str, row.shape)), row.rank, row.norm, row.coefficient)
        for row in shown.rows
    ]
    said = {**({"members": len(shown.members)} if shown.members else {}), **_figures(shown.notes)}
    title = f"Edit {shown.content[:12]}, strength {shown.strength:g}"
    return _table(title, ("parameter", "does", "shape", "rank", "norm", "coefficient"), rows, said)


def stack(shown: Stack) -> str:
    """Which edits are on a module, at which strengths."""
    rows = [
        (one.content[:12], strength, ", ".join(one.touched), ", ".join(shown.forced.get(one.content, ())))
        for one, strength in shown.contents
    ]
    said = {"changed behind its back": ", ".join(shown.disturbed())}
    return _table(f"Stack on {type(shown.module).__name__}", ("edit", "strength", "touches", "forced"), rows, said)


def _figures(notes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in notes.items() if isinstance(value, str | int | float)}


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], said: Mapping[str, Any]) -> str:
    parts = [f"<table><caption style='text-align:left'><b>{_cell(title)}</b></caption>", _row("th", columns)]
    parts += [_row("td", row) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        parts.append(_row("td", [f"and {len(rows) - MOST_ROWS} more"]))
    words = "; ".join(f"{_cell(key)}: {_cell(value)}" for key, value in said.items() if value not in ("", None))
    return "".join(parts) + "</table>" + (f"<p>{words}</p>" if words else "")


def _row(tag: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_cell(cell)}</{tag}>' for cell in cells)}</tr>"


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
