"""The `rewrite` command: one file a verb. A verb parses, calls one function and prints.

torch takes two seconds to import, and `--help` and a Tab should not wait for it. So nothing here imports
torch, or anything that does, before a verb runs: such imports stand inside the functions.
"""

from rewrite.cli.app import main

__all__ = ["main"]
