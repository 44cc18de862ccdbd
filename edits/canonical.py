"""Canonical forms: one text for a JSON value, one byte string for a tensor."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from edits.errors import EditError

Json = Any
"""None, bool, int, finite float, str, list of these, or dict of str to these."""

DEPTH_LIMIT = 64
"""Deepest nesting of lists and objects in a file."""
FACT_DEPTH_LIMIT = 48
"""Deepest nesting of a recipe or a note: leaves room for the objects of the file around it."""

# An unterminated string matches to the end, so that no text makes the search start over again and again.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)


def text(value: Json) -> bytes:
    """The one UTF-8 text of a JSON value: sorted keys, no spaces; EditError if it has none."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise EditError(
            f"a value has no JSON form ({error}); expected strings, finite numbers, lists, objects"
        ) from None


def parse(data: bytes) -> Json:
    """The JSON value of a text that may be hostile; EditError if it is deep, repeats a key, or is no JSON."""
    if depth(data) > DEPTH_LIMIT:
        raise EditError(f"its JSON nests deeper than {DEPTH_LIMIT} levels")
    try:
        return json.loads(data.decode(), object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise EditError(f"its JSON cannot be read ({error})") from None


def depth(data: bytes) -> int:
    """The deepest nesting of brackets outside strings, found without recursion."""
    codes = np.frombuffer(_STRING.sub(b"", data), dtype=np.uint8)
    opens = (codes == ord("[")) | (codes == ord("{"))
    closes = (codes == ord("]")) | (codes == ord("}"))
    levels = np.cumsum(opens.astype(np.int32) - closes.astype(np.int32))
    return int(levels.max(initial=0))


def plain(value: Json, what: str) -> Json:
    """A copy of a JSON value made of plain lists and dicts; EditError naming `what` if it is none."""
    copy = _plain(value, what, FACT_DEPTH_LIMIT)
    text(copy)
    return copy


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The values in C order, little endian, in the tensor's own type."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    size = flat.element_size()
    octets: np.ndarray[Any, np.dtype[np.uint8]] = flat.view(torch.uint8).numpy()
    if sys.byteorder == "big":
        octets = np.ascontiguousarray(octets.reshape(-1, size)[:, ::-1]).reshape(-1)
    return octets.data


def _plain(value: Json, what: str, levels: int) -> Json:
    if levels < 0:
        raise EditError(f"{what} nests deeper than {FACT_DEPTH_LIMIT} levels; flatten it")
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(item, what, levels - 1) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise EditError(f"{what} has the key {key!r}; expected JSON, whose keys are strings")
        return {key: _plain(item, what, levels - 1) for key, item in value.items()}
    raise EditError(
        f"{what} holds a {type(value).__name__}; expected JSON: null, true, numbers, strings, lists, objects"
    )


def _no_repeats(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
