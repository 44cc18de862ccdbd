"""What a pickle can hold once it has been interpreted: plain values, these, and nothing that runs.

Nothing here is hashed or compared as a whole, and nothing walks into depth by itself: a file decides how deep its
values nest, so those who read them bound their walk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewrite.checkpoints.pickled.effort import Effort

Value = Any
"""None, bool, int, float, str, list, tuple of these, or one of the classes below."""


@dataclass(slots=True, eq=False)
class Blob:
    """Bytes: a stretch of the file, not copied, if `offset` says where it begins there."""

    view: memoryview
    offset: int | None


@dataclass(slots=True, eq=False)
class Name:
    """A class or function that the file names. It is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Items:
    """A dictionary of any kind, as pairs in the order of the file."""

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: list[tuple[Value, Value]] = []

    def named(self, effort: Effort) -> dict[str, Value]:
        """Those under strings; of two under the same one the last, as in a dictionary."""
        effort.spend(len(self.pairs))
        return {key: value for key, value in self.pairs if type(key) is str}


class Record:
    """An instance of something unknown: what it was to be made of and filled with. Nothing was called."""

    __slots__ = ("_attributes", "args", "items", "name", "source", "state")

    def __init__(self, name: Name, args: Value, source: str | None = None):
        self.name = name
        self.args = args
        self.source = source
        self.state: Value = None
        self.items: list[Value] = []
        self._attributes: dict[str, Value] | None = None

    def attributes(self, effort: Effort) -> dict[str, Value]:
        """By name, once the whole file has been interpreted: from a plain state, or one of `__dict__` and slots."""
        if self._attributes is None:
            parts = self.state[:2] if type(self.state) is tuple else (self.state,)
            self._attributes = {}
            for part in parts:
                if isinstance(part, Items):
                    self._attributes |= part.named(effort)
        return self._attributes


__all__ = ["Blob", "Items", "Name", "Record", "Value"]
