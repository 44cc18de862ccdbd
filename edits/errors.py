"""What this package raises and what it warns with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EditError(Exception):
    """Anything a person can put right; one sentence: what was found, what was expected, what to do."""


class EditWarning(UserWarning):
    """An edit was applied where it may not mean what it meant when it was made."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The three known names closest to `name`, as text for the end of a message."""
    return ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0.0)) or "none"
