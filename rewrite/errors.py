"""The one error of this package: found, expected, what to do, in a sentence."""

from __future__ import annotations

from edits.errors import EditError, nearest

__all__ = ["Absent", "RewriteError", "nearest"]


class RewriteError(EditError):
    """Raised for anything a person can put right: a recipe, a name, a file, a region."""


class Absent(RewriteError):
    """Raised for what is published elsewhere, and is neither here nor can be fetched."""
