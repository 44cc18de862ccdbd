"""Facts out of a pickle, as JSON-like values."""

from __future__ import annotations

import math
from typing import Any

from rewrite.checkpoints.mapped import numbers
from rewrite.checkpoints.pickled.arrays import Array
from rewrite.checkpoints.pickled.effort import OBJECT, Effort
from rewrite.checkpoints.pickled.values import Blob, Items, Name, Record, Value
from rewrite.checkpoints.strided import Strided

DEPTH_LIMIT = 24
NUMBERS_LIMIT = 1024
"""Arrays of more are named by their shape alone."""
TEXT_LIMIT = 4096
LEFT_OUT = "…"


def plain(value: Value, effort: Effort, depth: int = DEPTH_LIMIT) -> Any:
    """A copy made of None, bool, int, float, str, lists and dicts; what has no such form is described by one.

    What nests deeper than `depth` is left out.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if len(value) <= TEXT_LIMIT else _copied(value[:TEXT_LIMIT] + LEFT_OUT, effort)
    if isinstance(value, int):
        return value if abs(value) < 2**63 else _copied(str(value), effort)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth == 0:
        return LEFT_OUT
    effort.spend(OBJECT)
    if isinstance(value, list | tuple):
        effort.spend(len(value))
        return [plain(one, effort, depth - 1) for one in value]
    if isinstance(value, Items):
        effort.spend(len(value.pairs))
        return {_key(key, effort): plain(one, effort, depth - 1) for key, one in value.pairs}
    if isinstance(value, Strided):
        return _array(value, effort)
    if isinstance(value, Name):
        return _copied(str(value), effort)
    if isinstance(value, Blob):
        return {"bytes": len(value.view)}
    if isinstance(value, Record):
        return _record(value, effort, depth)
    return {"kind": type(value).__name__}


def _copied(text: str, effort: Effort) -> str:
    """Text of which a file could have any number of copies made."""
    effort.text(len(text))
    return text


def _record(record: Record, effort: Effort, depth: int) -> Any:
    """By its attributes, where they are all that it has (`argparse.Namespace`), else by its class alone."""
    if isinstance(record.state, Items) and not record.items and record.source is None:
        return plain(record.state, effort, depth - 1)
    # Paths are made of their parts, devices of their names.
    args = record.args if type(record.args) is tuple else ()
    if args and len(args) < 64 and all(type(one) in (str, int) for one in args) and record.state is None:
        return {"class": _copied(str(record.name), effort), "args": [plain(one, effort, 1) for one in args]}
    return {"class": _copied(str(record.name), effort)}


def _array(value: Strided, effort: Effort) -> Any:
    if isinstance(value, Array) and value.strange:
        return {"kind": value.strange}
    # Of an array without elements too, since it lists its empty rows.
    count = math.prod(max(n, 1) for n in value.shape)
    if count > NUMBERS_LIMIT or value.storage.view is None or value.dtype.is_complex:
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    effort.spend(count)
    return _finite(numbers(value).tolist())


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def _key(key: Value, effort: Effort) -> str:
    if type(key) is str:
        return key
    return _copied(str(key), effort) if isinstance(key, int | float | Name) else f"({type(key).__name__})"


__all__ = ["plain"]
