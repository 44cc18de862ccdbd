"""Files of numpy: one array (.npy), or a zip archive of them (.npz). Objects are refused; headers are not evaluated."""

from __future__ import annotations

import re
import zlib

from rewrite.checkpoints import archive
from rewrite.checkpoints.content import Content, Found
from rewrite.checkpoints.pickled.arrays import Array, Kind
from rewrite.checkpoints.pickled.effort import Effort
from rewrite.checkpoints.pickled.values import Blob
from rewrite.errors import RewriteError

START = b"\x93NUMPY"
HEADER_LIMIT = 4096
UNPACKED_LIMIT = 2**29
_HEADER = re.compile(
    r"\{'descr': '(?P<order>[<>|=])(?P<code>[a-zA-Z][0-9]{0,5})', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>[0-9, ]*)\), ?\} *\n"
)


def one(view: memoryview) -> Content:
    found = Found()
    _put(found, "array", Blob(view, 0))
    return Content("numpy", {"": found}, why=("an array of numpy (.npy), by its first bytes",))


def many(view: memoryview, members: dict[str, archive.Member]) -> Content:
    """The arrays of an archive, by their names; those that are packed are unpacked here, up to a limit."""
    if sum(m.unpacked for m in members.values() if m.method != archive.STORED) > UNPACKED_LIMIT:
        raise RewriteError(f"it unpacks to more than {UNPACKED_LIMIT} bytes; write it with numpy.savez, uncompressed")
    found = Found()
    for name, member in members.items():
        content = view[member.offset : member.offset + member.length]
        blob = Blob(content, member.offset) if member.method == archive.STORED else _unpacked(content, member)
        _put(found, name.removesuffix(".npy"), blob)
    return Content("numpy", {"": found}, why=("a zip archive of .npy members, as numpy.savez writes it",))


def _unpacked(content: memoryview, member: archive.Member) -> Blob:
    if member.method != archive.DEFLATED:
        raise RewriteError("its archive is packed in a way that numpy does not; write it with numpy.savez")
    unpacker = zlib.decompressobj(-15)
    try:
        found = unpacker.decompress(content, max(member.unpacked, 1))
    except zlib.error as error:
        raise RewriteError(f"its archive is damaged ({error})") from None
    return Blob(memoryview(found), None)


def _put(found: Found, name: str, blob: Blob) -> None:
    view, offset = blob.view, blob.offset
    if bytes(view[:6]) != START or len(view) < 12 or view[6] not in (1, 2, 3):
        raise RewriteError(f"{name!r:.100} is no array of numpy, or a damaged one")
    width = 2 if view[6] == 1 else 4
    length = int.from_bytes(view[8 : 8 + width], "little")
    start = 8 + width + length
    text = bytes(view[8 + width : start]).decode("latin-1") if length <= HEADER_LIMIT else ""
    match = _HEADER.fullmatch(text)
    if match is None:
        found.broken[name] = "an array of numpy of objects or records"
        return
    array = Array(Effort())
    shape = tuple(int(n) for n in match["shape"].split(",") if n.strip().isdecimal() and len(n) < 24)
    array.become(
        shape, Kind(match["code"], match["order"]), match["fortran"] == "True",
        Blob(view[start:], None if offset is None else offset + start),
    )  # fmt: skip
    if array.strange:
        found.broken[name] = array.strange
    else:
        found.views[name] = array


__all__ = ["START", "many", "one"]
