"""Zip archives whose members are stored as they are: where each of them lies, and where its checksum is kept.

A reader of our own, since the standard one says neither. Format: PKWARE's APPNOTE, sections 4.3.7 to 4.3.16 and 4.5.3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rewrite.errors import RewriteError

MEMBER_LIMIT = 200_000
START = b"PK\x03\x04"
STORED, DEFLATED = 0, 8
_END = struct.Struct("<4s4H2LH")
_END64_AT = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_WIDE = 0xFFFFFFFF


@dataclass(frozen=True)
class Member:
    """A file in the archive: its bytes as stored, and its length once unpacked."""

    name: str
    offset: int
    length: int
    unpacked: int
    method: int
    checksums: tuple[int, ...]
    """Where in the file its CRC-32 is kept: in the directory, and beside the member."""


def members(view: memoryview) -> dict[str, Member]:
    """By name; RewriteError for an archive that is damaged, encrypted, or names a member twice."""
    try:
        at, count = _directory(view)
        found: dict[str, Member] = {}
        for _ in range(count):
            member, at = _member(view, at)
            if member.name in found:
                raise RewriteError(f"its archive has two members {member.name!r:.100}; expected each once")
            found[member.name] = member
    except struct.error:
        raise RewriteError("its archive is cut short or damaged") from None
    return found


def _directory(view: memoryview) -> tuple[int, int]:
    """Where the directory begins, and its number of entries."""
    tail = bytes(view[-65_600:])
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        raise RewriteError("its archive has no directory, as if the file were cut short")
    _, disk, _, _, count, size, at, _ = _END.unpack_from(tail, end)
    where = len(view) - len(tail) + end
    if 0xFFFF in (disk, count) or _WIDE in (size, at):
        locator = where - _END64_AT.size
        if locator >= 0 and bytes(view[locator : locator + 4]) == b"PK\x06\x07":
            *_, there, _ = _END64_AT.unpack_from(view, locator)
            kind, *_, count, size, at = _END64.unpack_from(view, _inside(view, there, _END64.size))
            if kind != b"PK\x06\x06":
                raise RewriteError("its archive is cut short or damaged")
    if count > MEMBER_LIMIT:
        raise RewriteError(f"its archive has {count} members; expected {MEMBER_LIMIT} at most")
    return _inside(view, at, size), count


def _member(view: memoryview, at: int) -> tuple[Member, int]:
    (
        kind, _, _, flags, method, _, _, _, length, unpacked, name_length, extra_length, comment, _, _, _, local,
    ) = _ENTRY.unpack_from(view, at)  # fmt: skip
    if kind != b"PK\x01\x02" or flags & 1:
        raise RewriteError("its archive is damaged or encrypted")
    start = at + _ENTRY.size
    name = bytes(view[start : start + name_length]).decode("utf-8", "replace")
    unpacked, length, local = _wide(view[start + name_length :][:extra_length], unpacked, length, local)
    kind, *_, local_name, local_extra = _LOCAL.unpack_from(view, _inside(view, local, _LOCAL.size))
    if kind != START:
        raise RewriteError(f"its archive has no member where {name!r:.100} should lie")
    offset = _inside(view, local + _LOCAL.size + local_name + local_extra, length)
    checksums = [at + 16]
    if flags & 8:
        # A descriptor behind the member holds it; its signature is usual, not required.
        signed = bytes(view[offset + length : offset + length + 4]) == b"PK\x07\x08"
        checksums.append(offset + length + (4 if signed else 0))
    else:
        checksums.append(local + 14)
    return Member(name, offset, length, unpacked, method, tuple(checksums)), (
        start + name_length + extra_length + comment
    )


def _wide(extra: memoryview, *values: int) -> tuple[int, ...]:
    """Sizes and the offset, those of 4 GB or more out of the extra field that holds them."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.iter_unpack("<Q", extra[at + 4 : at + 4 + length // 8 * 8]))
            return tuple(next(wide, (value,))[0] if value == _WIDE else value for value in values)
        at += 4 + length
    return values


def _inside(view: memoryview, at: int, length: int) -> int:
    if at < 0 or at + length > len(view):
        raise RewriteError(f"its archive points at byte {at + length} of a file of {len(view)}; it is cut short")
    return at


__all__ = ["DEFLATED", "START", "STORED", "Member", "members"]
