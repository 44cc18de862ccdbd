"""Our own checkpoints: safetensors with one metadata key that says which network the tensors are.

A network has exactly one file: sorted names, one canonical JSON value, contiguous numbers. So reading is
strict by comparison: the header that was read must be the header we would write. It holds the SHA-256 of the
numbers, so that a bit that flips in a cache is found. Weights are float32; where each of them is a half-precision
number they may be stored as such, and are float32 again when read.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from edits import canonical
from edits.errors import EditError
from edits.file import open_regular, write_atomically
from edits.finite import finite
from rewrite.errors import RewriteError

FORMAT = 1
KEY = "rewrite"
HEADER_LIMIT = 16 * 2**20
HALF = "F16"


@dataclass(frozen=True)
class Checkpoint:
    """A network at rest: its family and geometry, where it comes from, what was baked in, and its tensors."""

    family: str
    geometry: Mapping[str, Any]
    """Arguments that rebuild the family's module."""
    card: Mapping[str, Any]
    """Origin, licence and the like, for people."""
    tensors: Mapping[str, Tensor]
    """Float32, by their names in the module's state dict."""
    history: Sequence[Mapping[str, Any]] = field(default=())
    """Edits that went into the weights, in order: {"content": digest, "strength": a, ...}."""
    half: bool = False
    """Tensors that half precision holds without loss are stored so; `halved` rounds those that may be."""


def halved(checkpoint: Checkpoint, spared: Callable[[str], bool] = lambda _: False) -> Checkpoint:
    """Its weights, but for the `spared` ones, rounded to half precision, to be stored so.

    RewriteError if one of them is too large for that.
    """
    tensors = {name: tensor if spared(name) else tensor.half().float() for name, tensor in checkpoint.tensors.items()}
    for name, tensor in tensors.items():
        _check(name, tensor, "the rounded checkpoint")
    return replace(checkpoint, tensors=tensors, half=True)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write beside `path` and rename. The same checkpoint gives the same bytes, in any process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, encode(checkpoint))


def read(path: Path) -> Checkpoint:
    """RewriteError, in one sentence, for a file that is not exactly what `write` writes."""
    try:
        with open_regular(path) as stream:
            return _decode(stream, os.fstat(stream.fileno()).st_size, str(path))
    except OSError as error:
        raise RewriteError(f"cannot read {path} ({error.strerror}); expected a checkpoint file") from error


def claims(path: Path) -> bool:
    """Whether a file's header says that it is ours; `read` tells whether it is."""
    try:
        with open_regular(path) as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = stream.read(min(length, HEADER_LIMIT))
        return f'"{KEY}":'.encode() in header and b'"__metadata__"' in header
    except OSError:
        return False


def encode(checkpoint: Checkpoint) -> Iterator[bytes | memoryview]:
    """The bytes of a checkpoint, in chunks; RewriteError, before the first, unless all is finite float32."""
    _check_facts(checkpoint, "this checkpoint")
    total = hashlib.sha256()
    for name, tensor in checkpoint.tensors.items():
        _check(name, tensor, "this checkpoint")
    short = {name for name, tensor in checkpoint.tensors.items() if checkpoint.half and _fits_half(tensor)}
    tensors = [tensor.half() if name in short else tensor for name, tensor in sorted(checkpoint.tensors.items())]
    for tensor in tensors:
        total.update(canonical.tensor_bytes(tensor))
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    header = _header(checkpoint, shapes, short, total.hexdigest())
    return chain([len(header).to_bytes(8, "little"), header], map(canonical.tensor_bytes, tensors))


def decode(content: bytes, what: str = "this file") -> Checkpoint:
    """The checkpoint in these bytes; RewriteError, naming `what`, if they are not what `encode` gives."""
    return _decode(io.BytesIO(content), len(content), what)


def _decode(stream: BinaryIO, size: int, what: str) -> Checkpoint:
    """The header first: nothing more is read, or made room for, unless the file has the size it describes."""
    start = stream.read(9)
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:] != b"{" or not 0 < length <= HEADER_LIMIT:
        raise RewriteError(f"{what} is not a checkpoint of this program; expected safetensors written by rewrite")
    header = start[8:] + stream.read(length - 1)
    if len(header) != length:
        raise RewriteError(f"{what} is cut short: it ends inside its header; fetch or write it again")
    try:
        entries = canonical.parse(header)
        facts = canonical.parse(entries.pop("__metadata__")[KEY].encode())
        if (version := facts.pop("format")) != FORMAT:
            raise RewriteError(
                f"{what} has checkpoint format {version!r}; this version reads {FORMAT}, so update rewrite"
            )
        if "data" not in facts:
            raise RewriteError(
                f"{what} does not hold the SHA-256 of its weights, as a checkpoint must; write or fetch it again"
            )
        digest = facts.pop("data")
        shapes = {name: tuple(map(_size, entry["shape"])) for name, entry in entries.items()}
        short = {name for name, entry in entries.items() if entry["dtype"] == HALF}
        checkpoint = Checkpoint(tensors={}, **facts)
        expected = _header(checkpoint, shapes, short, digest)
    except RewriteError:
        raise
    except (EditError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RewriteError(
            f"{what} is safetensors, but not a checkpoint of this program; convert it with `rewrite`, "
            f"which records the family and its geometry"
        ) from error
    altered = RewriteError(
        f"{what} has a header that rewrite would not have written; it was altered, so fetch it again"
    )
    if expected != header or (short and not checkpoint.half):
        raise altered
    _check_facts(checkpoint, what)
    described = 8 + length + sum(_width(name, short) * math.prod(shape) for name, shape in shapes.items())
    if size != described:
        raise RewriteError(
            f"{what} has {size} bytes and its header describes {described}; it is cut short or padded, "
            f"so fetch or write it again"
        )
    total, tensors = hashlib.sha256(), {}
    for name, shape in shapes.items():
        # A storage of its own: tensors that share one would look tied.
        numbers = bytearray(stream.read(_width(name, short) * math.prod(shape)))
        total.update(numbers)
        stored = torch.frombuffer(numbers, dtype=torch.float16 if name in short else torch.float32)
        tensors[name] = stored.float().view(shape)
        _check(name, tensors[name], what)
        if checkpoint.half and name not in short and _fits_half(tensors[name]):
            raise altered
    if total.hexdigest() != digest:
        raise RewriteError(f"{what} holds other weights than were written: a bit was flipped, so fetch it again")
    return replace(checkpoint, tensors=tensors)


def fill(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Give a module built on the meta device its tensors, without copying them.

    RewriteError, naming `what`, for a tensor that is missing, unknown, or of another shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    if missing := sorted(set(expected) - set(tensors)):
        raise RewriteError(
            f"{what} lacks {len(missing)} of {len(expected)} tensors, among them {missing[0]}; fetch it again"
        )
    if extra := sorted(set(tensors) - set(expected)):
        raise RewriteError(
            f"{what} has {len(extra)} tensors that its geometry lacks, among them {extra[0]}; fetch it again"
        )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise RewriteError(
                f"{what} has {name} of shape {tuple(tensors[name].shape)}, and its geometry asks for "
                f"{shape}; fetch it again"
            )
    module.load_state_dict(dict(tensors), assign=True)


def _fits_half(tensor: Tensor) -> bool:
    return torch.equal(tensor.half().float(), tensor)


def _width(name: str, short: Set[str]) -> int:
    """Bytes of a number."""
    return 2 if name in short else 4


def _header(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]], short: Set[str], digest: str) -> bytes:
    facts = {
        "format": FORMAT,
        "family": checkpoint.family,
        "geometry": dict(checkpoint.geometry),
        "card": dict(checkpoint.card),
        "history": list(checkpoint.history),
        "data": digest,
    } | ({"half": True} if checkpoint.half else {})
    entries: dict[str, Any] = {"__metadata__": {KEY: canonical.text(facts).decode()}}
    offset = 0
    for name in sorted(shapes):
        end = offset + _width(name, short) * math.prod(shapes[name])
        entries[name] = {
            "dtype": HALF if name in short else "F32",
            "shape": list(shapes[name]),
            "data_offsets": [offset, end],
        }
        offset = end
    header = canonical.text(entries)
    return header + b" " * (-len(header) % 8)


def _size(value: Any) -> int:
    if type(value) is not int or not 1 <= value < 2**40:
        raise ValueError(f"{value!r} is no tensor size")
    return value


def _check_facts(checkpoint: Checkpoint, what: str) -> None:
    if not isinstance(checkpoint.family, str) or not all(map(_is_baked, checkpoint.history)):
        raise RewriteError(f"{what} does not say which family it is and what was baked into it; fetch it again")


def _is_baked(entry: Any) -> bool:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("content"), str):
        return False
    strength = entry.get("strength")
    return isinstance(strength, int | float) and not isinstance(strength, bool) and math.isfinite(strength)


def _check(name: str, tensor: Tensor, what: str) -> None:
    if tensor.dtype != torch.float32:
        raise RewriteError(f"{name} in {what} is {tensor.dtype}; checkpoints are float32, so convert it first")
    if not finite(tensor):
        raise RewriteError(f"{name} in {what} holds NaN or infinity; the weights are damaged, so fetch them again")
