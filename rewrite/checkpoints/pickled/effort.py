"""How much work and memory a file may ask for while it is read."""

from __future__ import annotations

from rewrite.errors import RewriteError

OPCODES = 2_000_000
"""A snapshot of a 1024 px StyleGAN2 with its discriminator takes 66,000."""
TEXT = 32
"""Bytes of text that are worth one opcode, so that at most 64 MB of it are ever decoded."""

OBJECT = 4
"""Opcodes that one of our objects is worth, of some 300 bytes."""


class Effort:
    """What is left of it, for a file and all that is nested in it; RewriteError when there is nothing left."""

    __slots__ = ("left",)

    def __init__(self, opcodes: int = OPCODES):
        self.left = opcodes

    def spend(self, opcodes: int) -> None:
        self.left -= opcodes
        if self.left < 0:
            raise RewriteError(
                f"it takes more than {OPCODES:,} steps to read, which no checkpoint of a generator does; it is refused"
            )

    def text(self, length: int) -> None:
        """Pay for text of so many bytes, before it is decoded."""
        self.spend(length // TEXT)


__all__ = ["OBJECT", "OPCODES", "Effort"]
