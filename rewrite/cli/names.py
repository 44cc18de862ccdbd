"""What edits are called in tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rewrite.cli.arguments import EditAt

if TYPE_CHECKING:
    import edits

ENTRY = "edit.safetensors"
"""What each entry of a library calls its edit."""
TAKEN = ("base", "all")
"""Names of rows that are no single edit."""


def named(given: Sequence[EditAt], loaded: Sequence[edits.Edit]) -> dict[str, str]:
    """Names by content: the files' stems, and for the members of a composed edit that of its file with their digests.

    A library's edits are called as their folders. A stem that two files have, or that is taken, goes with a digest too.
    """
    stems = [one.path.absolute().parent.name if one.path.name == ENTRY else one.path.stem for one in given]
    names = {}
    for stem, edit in zip(stems, loaded, strict=True):
        alone = stems.count(stem) == 1 and stem not in TAKEN
        names[edit.content] = stem if alone else f"{stem} {edit.content[:8]}"
        names |= {member.content: f"{stem} {member.content[:8]}" for member, _ in edit.members}
    return names
