"""Ctrl-C and SIGTERM: before a verb's work they end the process at once, during it they unwind.

An interrupt that is raised inside torch's import aborts the process with a stack of C++; and until that import is
done there is nothing to clean up.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int
WORD = "interrupted; nothing was left half-written"


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Both signals end the process, until `unwinding`; afterwards they do what they did before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        _handle(number, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            _handle(number, handler, always=True)


def unwinding() -> None:
    """From here on they raise KeyboardInterrupt and SystemExit, so that half-written files are removed."""
    _handle(signal.SIGINT, signal.default_int_handler)
    _handle(signal.SIGTERM, _unwind)


def deaf() -> None:
    """An interrupt of what already ends, and is being reported, is ignored."""
    _handle(signal.SIGINT, signal.SIG_IGN)


def _handle(number: signal.Signals, handler: Handler | None, *, always: bool = False) -> None:
    # One that whoever started us has ignored (nohup, a shell's &) stays so. Only the main thread may say anything.
    if handler is not None and (always or signal.getsignal(number) != signal.SIG_IGN):
        with contextlib.suppress(ValueError):
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        with contextlib.suppress(OSError):
            os.write(2, f"rewrite: {WORD}\n".encode())
    os._exit(128 + number)


def _unwind(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
