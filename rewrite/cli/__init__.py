"""The `rewrite` command: one file a verb. A verb parses, calls one function and prints.

torch takes two seconds to import, and `--help` and a Tab should not wait for it. So nothing here imports
torch, or anything that does, before a verb runs: such imports stand inside the functions.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewrite.cli import heap
from rewrite.cli.signals import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on these arguments (the process's own if None) and return its exit code."""
    heap.keep()
    with guarded():
        from rewrite.cli.app import run

        return run(argv)


__all__ = ["main"]
