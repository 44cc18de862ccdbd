"""What went wrong, in one line, and the exit code that says so."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback

from rewrite.cli.signals import WORD
from rewrite.cli.voice import say, settle

SUCCESS, FAILED_CHECK, ERROR, UNDECIDED, INTERRUPTED = 0, 1, 2, 3, 130


def report(error: BaseException, *, debug: bool) -> int:
    """Print the line (with `debug`, the traceback before it) on stderr and return the exit code."""
    if isinstance(error, BrokenPipeError):
        settle(sys.stdout)
        return SUCCESS
    interrupted = isinstance(error, KeyboardInterrupt)
    if debug and not interrupted:
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exception(error)
    say(WORD if interrupted else _sentence(error))
    settle(sys.stdout)
    return INTERRUPTED if interrupted else ERROR


def wants_traceback() -> bool:
    """Whether REWRITE_DEBUG asks for tracebacks."""
    return os.environ.get("REWRITE_DEBUG", "") not in ("", "0")


def _sentence(error: BaseException) -> str:
    # Raised by typer, which knows where in the arguments it was. Not every version makes its classes public.
    said = getattr(error, "format_message", None)
    if said is not None:
        command = getattr(getattr(error, "ctx", None), "command_path", "rewrite")
        return f"{said().replace('Value error, ', '').rstrip('.')} (see `{command} --help`)"
    if _is_edit_error(error):
        return str(error)
    if isinstance(error, OSError):
        return _of_system(error)
    first = str(error).strip().partition("\n")[0]
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"unexpected {what}; run it again with --debug for the traceback"


def _is_edit_error(error: BaseException) -> bool:
    # It can only have been raised once `edits` was imported; importing that here would bring in torch.
    found = sys.modules.get("edits.errors")
    return found is not None and isinstance(error, found.EditError)


def _of_system(error: OSError) -> str:
    what = f"{error.filename}: " if error.filename else ""
    advice = {
        errno.ENOSPC: "free some space, or choose another place",
        errno.EACCES: "choose another place, or ask for permission",
        errno.ENOENT: "check the path",
    }.get(error.errno or 0, "check the path and the disk")
    return f"{what}{error.strerror or error}; {advice}"
