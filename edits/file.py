"""One file for one edit: safetensors that any reader opens, written canonically, read strictly.

    8 bytes     header length, little endian; at most 8 MB
    header      canonical JSON: tensor records by name, and `__metadata__` with the one key `edit`;
                padded with spaces to 8
    tensors     int64 ones, then float32 ones, each kind by name; C order, little endian, gapless

`edit` is a string of canonical JSON (`edits.record`). Its `seal` is the SHA-256 of all bytes of the file, the
seal's own digits taken as zeros. The same edit gives the same bytes in any process, and only those bytes are
read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edits import canonical
from edits.canonical import Json
from edits.edit import Edit
from edits.errors import EditError
from edits.record import UNSEALED, TooNew, record, restore, tensors

HEADER_LIMIT = 8 * 2**20
TENSOR_LIMIT = 65_536
MESSAGE_LIMIT = 600
_TYPES = {"F32": ("<f4", torch.float32), "I64": ("<i8", torch.int64)}
_NAMES = {torch.float32: "F32", torch.int64: "I64"}

Path_ = str | os.PathLike[str]


def save(edit: Edit, path: Path_) -> None:
    """Write the edit, whole or not at all; EditError if it is too large for a file or cannot be written."""
    write_atomically(path, pack(edit))


def load(path: Path_) -> Edit:
    """Read an edit; EditError, naming the rule it broke, for any file that `save` would not have written."""
    try:
        with open_regular(path) as stream:
            return _read(stream, os.fstat(stream.fileno()).st_size)
    except OSError as error:
        raise EditError(
            f"{path} cannot be read ({error.strerror or error}); expected an edit file; check the path"
        ) from None
    except MemoryError:
        raise EditError(
            f"{path} does not fit into the memory that there is; expected an edit, which is small beside its model; "
            f"get a fresh copy of it, or free some memory"
        ) from None
    except TooNew as error:
        raise EditError(f"{path} cannot be loaded: {_told(error)}") from None
    except EditError as error:
        raise EditError(
            f"{path} is not a sound edit file: {_told(error)}; get a fresh copy of it, or make the edit again"
        ) from None


def pack(edit: Edit) -> Iterator[bytes | memoryview]:
    """The bytes of the edit's file: the header, then each tensor. Raises EditError before the first chunk."""
    edit.check_intact()
    header = _header(edit, _seal(edit))

    def chunks() -> Iterator[bytes | memoryview]:
        yield header
        for _, tensor in _laid_out(edit):
            yield canonical.tensor_bytes(tensor)

    return chunks()


def open_regular(path: Path_) -> BufferedReader:
    """A regular file, open for reading; OSError for anything else: a fifo or a device could block, or never end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:
        raise OSError(errno.EINVAL, "no file can have this name") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path_, limit: int) -> bytes:
    """The bytes of a regular file; OSError if it is none, cannot be read, or has more than `limit`."""
    with open_regular(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes")
    return content


def write_atomically(path: Path_, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file beside its name and rename it: at any moment the name holds the old bytes or the new.

    A link stays, and its target is written. Raises EditError if that cannot be done; then, and on any other
    exception, the old file is as it was.
    """
    target = _target(path)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb") as stream:
            for chunk in [data] if isinstance(data, bytes) else data:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError):
            raise EditError(
                f"{path} cannot be written ({error.strerror or error}) and is as it was; free some space, or "
                f"choose another place"
            ) from None
        raise


def _target(path: Path_) -> Path:
    """The file behind the name, links followed; EditError where something else than a file is there."""
    try:
        target = Path(os.path.realpath(path))
        # A link that is still one leads to itself.
        sound = bool(Path(path).name) and (not os.path.lexists(target) or stat.S_ISREG(target.lstat().st_mode))
    except (OSError, ValueError):
        sound = False
    if not sound:
        raise EditError(f"{str(path)!r} is not the name of a file, or of one to be; give the path of a regular file")
    return target


def _laid_out(edit: Edit) -> list[tuple[str, Tensor]]:
    """Tensors in the order of the file: the wider type first, so that every one is aligned."""
    return sorted(tensors(edit).items(), key=lambda item: (-item[1].element_size(), item[0]))


def _header(edit: Edit, seal: str) -> bytes:
    entries: dict[str, Json] = {"__metadata__": {"edit": canonical.text(record(edit, seal)).decode()}}
    start = 0
    for name, tensor in _laid_out(edit):
        end = start + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    header = canonical.text(entries)
    header += b" " * (-len(header) % 8)
    if len(header) > HEADER_LIMIT or len(entries) - 1 > TENSOR_LIMIT:
        raise EditError(
            f"the edit needs {len(header)} bytes of description and {len(entries) - 1} tensors; a file has "
            f"room for {HEADER_LIMIT} and {TENSOR_LIMIT}; shorten the recipe or the notes, or split the edit"
        )
    return len(header).to_bytes(8, "little") + header


def _seal(edit: Edit) -> str:
    total = hashlib.sha256(_header(edit, UNSEALED))
    for _, tensor in _laid_out(edit):
        total.update(canonical.tensor_bytes(tensor))
    return total.hexdigest()


def _read(stream: BufferedReader, size: int) -> Edit:
    if size < 8:
        raise EditError(f"it has {size} bytes; expected at least 8")
    prefix = _exactly(stream, 8)
    length = int.from_bytes(prefix, "little")
    if length > min(HEADER_LIMIT, size - 8):
        raise EditError(f"its header claims {length} bytes; expected at most {min(HEADER_LIMIT, size - 8)}")
    header = _exactly(stream, length)
    text, entries = _entries(canonical.parse(header), size - 8 - length)
    description = canonical.parse(text)
    _check_room(entries)
    found = {name: _tensor(stream, shape, dtype) for _, _, name, shape, dtype in entries}
    edit, seal = restore(description, found)
    if _header(edit, seal) != prefix + header:
        raise EditError("its header is not in canonical form: the same edit is written differently")
    if _seal(edit) != seal:
        raise EditError("its seal does not match its bytes: it was damaged or changed by hand")
    return edit


def _entries(header: Json, size: int) -> tuple[bytes, list[tuple[int, int, str, list[int], str]]]:
    """The metadata text, and (start, end, name, shape, dtype) of the tensors, checked to cover the data."""
    if not isinstance(header, dict) or len(header) - 1 > TENSOR_LIMIT:
        raise EditError(f"its header is no object, or lists over {TENSOR_LIMIT} tensors")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or set(metadata) != {"edit"} or not isinstance(metadata["edit"], str):
        raise EditError("its metadata is not the one text `edit`")
    entries = sorted(_entry(name, entry) for name, entry in header.items())
    reached = 0
    for start, end, name, *_ in entries:
        if start != reached:
            raise EditError(
                f"the bytes of tensor {name!r} start at {start}; expected {reached}, without gap or overlap"
            )
        reached = end
    if reached != size:
        raise EditError(f"its tensors take {reached} bytes and {size} are there")
    try:
        return metadata["edit"].encode(), entries
    except UnicodeEncodeError:
        raise EditError("its metadata is not valid Unicode") from None


def _entry(name: str, entry: Json) -> tuple[int, int, str, list[int], str]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise EditError(f"the record of tensor {name!r} is not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise EditError(f"tensor {name!r} is of type {dtype!r}; expected {' or '.join(_TYPES)}")
    if not _counts(shape) or not _counts(offsets) or len(shape) > 16 or len(offsets) != 2:
        raise EditError(f"tensor {name!r} has the shape {shape!r} at {offsets!r}; expected lists of whole numbers")
    if 0 in shape:
        raise EditError(f"tensor {name!r} of shape {shape} holds nothing; expected one element at least")
    if offsets[1] - offsets[0] != math.prod(shape) * int(_TYPES[dtype][0][-1]):
        raise EditError(f"tensor {name!r} of shape {shape} does not take {offsets[1] - offsets[0]} bytes")
    return offsets[0], offsets[1], name, shape, dtype


def _check_room(entries: list[tuple[int, int, str, list[int], str]]) -> None:
    """MemoryError, before anything is read, if the tensors and the copy of one cannot be held."""
    sizes = [end - start for start, end, *_ in entries]
    np.empty(sum(sizes) + 2 * max(sizes, default=0), np.uint8)


def _tensor(stream: BufferedReader, shape: list[int], dtype: str) -> Tensor:
    layout, wanted = _TYPES[dtype]
    values = np.empty(shape, layout)
    count = stream.readinto(values.reshape(-1).view(np.uint8).data)
    if count != values.nbytes:
        raise EditError(f"it ends early: {values.nbytes} bytes were expected and {count} are there")
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False)).to(wanted)


def _told(error: EditError) -> str:
    """The message, made fit for a terminal: it may quote the file."""
    message = str(error)
    cut = message if len(message) <= MESSAGE_LIMIT else f"{message[:MESSAGE_LIMIT]}..."
    return "".join(character if character.isprintable() else "?" for character in cut)


def _counts(value: Json) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _exactly(stream: BufferedReader, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EditError(f"it ends early: {count} bytes were expected and {len(data)} are there")
    return data
