"""The one error of this package: found, expected, what to do, in a sentence."""

from __future__ import annotations

from edits.errors import EditError, nearest

__all__ = ["RewriteError", "nearest"]


class RewriteError(EditError):
    """Raised for anything a person can put right: a recipe, a name, a file, a region."""
