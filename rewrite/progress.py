"""How long work tells what it is doing: a callable given (what, done, total); the library itself prints nothing."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]


def quiet(_what: str, _done: int, _total: int) -> None:
    """The default: says nothing."""
