"""The library: saved edits with their recipes, bounds and cards, pinned by a manifest and tested like code.

library = opened()                                              # the one that comes with the package
for found in verify(library, library.chosen(["faces64"]), rewrite.load):
    print(found.name, found.outcome, found.wrong)

A kind of recipe is one line of `make.KINDS`; nothing else here asks how an edit came about.
"""

from rewrite.library.addition import Added, add
from rewrite.library.manifest import Entry, Look, Manifest
from rewrite.library.shelf import Library, check_files, opened
from rewrite.library.verification import Verified, edit_of, remade, verify

__all__ = [
    "Added",
    "Entry",
    "Library",
    "Look",
    "Manifest",
    "Verified",
    "add",
    "check_files",
    "edit_of",
    "opened",
    "remade",
    "verify",
]
