"""Edits of the weights of image generators: small, named, checkable, exactly undone.

edit = edits.load("glasses.safetensors")
with edits.applied(module, (edit, 0.8)):
    ...
"""

from edits.compose import compose
from edits.edit import Edit
from edits.errors import EditError, EditWarning
from edits.file import load
from edits.identity import Base, compare, describe
from edits.operations import Add, Dense, Elements, LowRank, Scale, Set, Slices
from edits.stack import Stack, applied

__all__ = [
    "Add",
    "Base",
    "Dense",
    "Edit",
    "EditError",
    "EditWarning",
    "Elements",
    "LowRank",
    "Scale",
    "Set",
    "Slices",
    "Stack",
    "applied",
    "compare",
    "compose",
    "describe",
    "load",
]
