"""Edits together: what they would do to one another, and how each rule keeps its promise."""

from rewrite.composition.foresee import conflict
from rewrite.composition.measure import Kept, retention
from rewrite.composition.replay import resolve
from rewrite.composition.result import Conflict

__all__ = ["Conflict", "Kept", "conflict", "resolve", "retention"]
