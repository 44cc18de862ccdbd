"""Arrays and scalars of numpy, as their pickles describe them."""

from __future__ import annotations

import math
from typing import Any

import torch

from rewrite.checkpoints.pickled.effort import OBJECT, Effort
from rewrite.checkpoints.pickled.values import Blob, Name, Record, Value
from rewrite.checkpoints.strided import RANK_LIMIT, Storage, Strided, steps, strided
from rewrite.errors import RewriteError

DTYPES = {
    "f8": torch.float64, "f4": torch.float32, "f2": torch.float16,
    "i8": torch.int64, "i4": torch.int32, "i2": torch.int16, "i1": torch.int8,
    "u8": torch.uint64, "u4": torch.uint32, "u2": torch.uint16, "u1": torch.uint8,
    "b1": torch.bool, "c8": torch.complex64, "c16": torch.complex128,
}  # fmt: skip
CODE_LIMIT = 128
"""Letters of the name of a dtype."""
ORDERS = ("<", "|", "=")
"""Of bytes: little endian, of one byte, and the machine's own, which writers use for neither."""


class Kind:
    """A dtype: "<f4" and the like, or something that is no number."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, order: str = "<"):
        self.code, self.order = code, order

    def build(self, state: Value) -> None:
        match state:
            case (int(), ("<" | ">" | "|" | "=") as order, None, None, None, *_):
                self.order = order
            case _:
                self.code = "V"

    @property
    def dtype(self) -> torch.dtype | None:
        """None for what torch has no numbers for: objects, text, records, big endian."""
        return DTYPES.get(self.code) if self.order in ORDERS else None


class Array(Strided):
    """An array; `strange` says why it is no tensor, where it is none."""

    __slots__ = ("effort", "strange")

    def __init__(self, effort: Effort) -> None:
        effort.spend(2 * OBJECT)
        self.effort = effort
        super().__init__(Storage(torch.uint8, 0, memoryview(b"")), torch.uint8, 0, (0,), (1,))
        self.strange = ""

    def build(self, state: Value) -> None:
        match state:
            case (int(), tuple(shape), Kind() as kind, bool() | int() as fortran, content):
                self.become(shape, kind, bool(fortran), content)
            case _:
                raise RewriteError("it holds an array of numpy in a form that no version of numpy writes")

    def become(self, shape: tuple[Any, ...], kind: Kind, fortran: bool, content: Value) -> None:
        """These are its shape, dtype, order and bytes; RewriteError if they do not go together."""
        if kind.dtype is None or isinstance(content, list):
            self.strange = f"an array of numpy of type {kind.order}{kind.code}, which is no number here"
            return
        view, offset = octets(content, self.effort)
        if len(shape) > RANK_LIMIT or not all(type(n) is int and n >= 0 for n in shape):
            raise RewriteError("an array of numpy has a shape that no array has")
        storage = Storage(kind.dtype, len(view) // kind.dtype.itemsize)
        storage.fill(view, offset)
        found = strided(storage, 0, shape, steps(shape, fortran=fortran))
        if 0 not in shape and math.prod(shape) != storage.count:
            raise RewriteError(f"an array of shape {shape} is given {len(view)} bytes of {kind.order}{kind.code}")
        self.storage, self.dtype, self.shape, self.stride = storage, found.dtype, found.shape, found.stride


def octets(content: Value, effort: Effort) -> tuple[memoryview, int | None]:
    """Bytes and where they lie; Python 2 wrote them as text."""
    if isinstance(content, Blob):
        return content.view, content.offset
    if type(content) is str and content.isascii():
        effort.text(len(content))
        return memoryview(content.encode()), None
    raise RewriteError("an array of numpy has something else than bytes for its numbers")


def dtype(args: tuple[Value, ...]) -> Value:
    match args:
        case (str(code), *_) if len(code) <= CODE_LIMIT:
            return Kind(code[1:], code[0]) if code[:1] in (*ORDERS, ">") else Kind(code)
        case (Name() as name, *_):
            return Kind(str(name)[:CODE_LIMIT])
    raise RewriteError("it holds a dtype of numpy in a form that no version of numpy writes")


def scalar(args: tuple[Value, ...], effort: Effort) -> Value:
    match args:
        case (Kind() as kind, content) if kind.dtype is not None:
            view, _ = octets(content, effort)
            if len(view) == kind.dtype.itemsize:
                return torch.frombuffer(bytearray(view), dtype=kind.dtype).item()
    return Record(Name("numpy", "generic"), args)


def from_buffer(args: tuple[Value, ...], effort: Effort) -> Value:
    """`numpy.core.numeric._frombuffer`, of protocol 5."""
    match args:
        case (Blob() | str() as content, Kind() as kind, tuple(shape), str(order)):
            array = Array(effort)
            array.become(shape, kind, order == "F", content)
            return array
    raise RewriteError("it holds an array of numpy in a form that no version of numpy writes")


def by_dill(args: tuple[Value, ...], effort: Effort) -> Value:
    """`dill._dill._create_array`: what `_reconstruct` makes, its state, and attributes, which are left out."""
    match args:
        case (Name(name="_reconstruct"), tuple(), state, *_):
            array = Array(effort)
            array.build(state)
            return array
    raise RewriteError("it holds an array of numpy in a form that dill does not write")


__all__ = ["Array", "Kind", "by_dill", "dtype", "from_buffer", "octets", "scalar"]
