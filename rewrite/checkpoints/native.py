"""Our own checkpoints: safetensors with one metadata key that says which network the tensors are.

A network has exactly one file: sorted names, one canonical JSON value, contiguous float32. So reading is
strict by comparison: the header that was read must be the header we would write.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edits import canonical
from edits.errors import EditError
from edits.file import write_atomically
from rewrite.errors import RewriteError

FORMAT = 1
KEY = "rewrite"
HEADER_LIMIT = 16 * 2**20


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


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write beside `path` and rename. The same checkpoint gives the same bytes, in any process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, encode(checkpoint))


def read(path: Path) -> Checkpoint:
    """RewriteError, in one sentence, for a file that is not exactly what `write` writes."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RewriteError(f"cannot read {path} ({error.strerror}); expected a checkpoint file") from error
    return decode(content, str(path))


def encode(checkpoint: Checkpoint) -> Iterator[bytes | memoryview]:
    """The bytes of a checkpoint, in chunks; RewriteError, before the first, unless all is finite float32."""
    tensors = [checkpoint.tensors[name] for name in sorted(checkpoint.tensors)]
    for name, tensor in checkpoint.tensors.items():
        _check(name, tensor, "this checkpoint")
    header = _header(checkpoint, {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()})
    return chain([len(header).to_bytes(8, "little"), header], map(canonical.tensor_bytes, tensors))


def decode(content: bytes, what: str = "this file") -> Checkpoint:
    """The checkpoint in these bytes; RewriteError, naming `what`, if they are not what `encode` gives."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 9 or content[8:9] != b"{" or length > HEADER_LIMIT:
        raise RewriteError(f"{what} is not a checkpoint of this program; expected safetensors written by rewrite")
    if 8 + length > len(content):
        raise RewriteError(f"{what} is cut short: it ends inside its header; fetch or write it again")
    header = content[8 : 8 + length]
    try:
        entries = canonical.parse(header)
        facts = canonical.parse(entries.pop("__metadata__")[KEY].encode())
        if (version := facts.pop("format")) != FORMAT:
            raise RewriteError(
                f"{what} has checkpoint format {version!r}; this version reads {FORMAT}, so update rewrite"
            )
        shapes = {name: tuple(map(_size, entry["shape"])) for name, entry in entries.items()}
        checkpoint = Checkpoint(tensors={}, **facts)
        expected = _header(checkpoint, shapes)
    except RewriteError:
        raise
    except (EditError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RewriteError(
            f"{what} is safetensors, but not a checkpoint of this program; convert it with `rewrite`, "
            f"which records the family and its geometry"
        ) from error
    if expected != header:
        raise RewriteError(
            f"{what} has a header that rewrite would not have written; it was altered, so fetch it again"
        )
    _check_facts(checkpoint, what)
    size = 8 + length + 4 * sum(map(math.prod, shapes.values()))
    if len(content) != size:
        raise RewriteError(
            f"{what} has {len(content)} bytes and its header describes {size}; it is cut short or padded, "
            f"so fetch or write it again"
        )
    tensors, offset = {}, 8 + length
    for name, shape in shapes.items():
        end = offset + 4 * math.prod(shape)
        # A storage of its own: tensors that share one would look tied.
        tensors[name] = torch.frombuffer(bytearray(content[offset:end]), dtype=torch.float32).view(shape)
        offset = end
    for name, tensor in tensors.items():
        _check(name, tensor, what)
    return Checkpoint(checkpoint.family, checkpoint.geometry, checkpoint.card, tensors, checkpoint.history)


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


def _header(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    facts = {
        "format": FORMAT,
        "family": checkpoint.family,
        "geometry": dict(checkpoint.geometry),
        "card": dict(checkpoint.card),
        "history": list(checkpoint.history),
    }
    entries: dict[str, Any] = {"__metadata__": {KEY: canonical.text(facts).decode()}}
    offset = 0
    for name in sorted(shapes):
        end = offset + 4 * math.prod(shapes[name])
        entries[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [offset, end]}
        offset = end
    header = canonical.text(entries)
    return header + b" " * (-len(header) % 8)


def _size(value: Any) -> int:
    if type(value) is not int or not 1 <= value < 2**40:
        raise ValueError(f"{value!r} is no tensor size")
    return value


def _check_facts(checkpoint: Checkpoint, what: str) -> None:
    if not (
        isinstance(checkpoint.family, str) and all(isinstance(h, dict) and "content" in h for h in checkpoint.history)
    ):
        raise RewriteError(f"{what} does not say which family it is and what was baked into it; fetch it again")


def _check(name: str, tensor: Tensor, what: str) -> None:
    if tensor.dtype != torch.float32:
        raise RewriteError(f"{name} in {what} is {tensor.dtype}; checkpoints are float32, so convert it first")
    if not torch.isfinite(tensor).all():
        raise RewriteError(f"{name} in {what} holds NaN or infinity; the weights are damaged, so fetch them again")
