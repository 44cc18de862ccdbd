"""Writing back: the same file with other numbers in some tensors. Nothing is pickled again, and nothing runs.

Every other byte stays as it was, but for the checksums of a zip archive. So the code that wrote the file reads it, with
everything that it keeps beside the weights.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from edits.file import write_atomically
from edits.finite import finite
from rewrite.checkpoints import archive
from rewrite.checkpoints.foreign import Foreign, Place
from rewrite.checkpoints.mapped import mapped
from rewrite.checkpoints.read import read
from rewrite.errors import RewriteError

Changes = Mapping[str, Mapping[str, Tensor]]
"""New values by network ("G_ema") and name in it, as the file has them."""


def write(source: str | Path, out: str | Path, changes: Changes) -> None:
    """Write the file at `source`, with these changes, to `out`: whole or not at all. They may be the same path.

    RewriteError, with the reason, for what the file cannot hold: another shape, numbers beyond its type, a tensor that
    shares its numbers with one that is to stay, or one that is not stored as it is.
    """
    source = Path(source)
    foreign = read(source)
    view = mapped(source)
    patches = dict(_patches(foreign, view, changes, str(source)))
    if foreign.container in ("torch zip", "numpy") and bytes(view[:4]) == archive.START:
        patches |= dict(_checksums(view, patches))
    write_atomically(out, _pieces(view, patches, 0, len(view)))


def _patches(foreign: Foreign, view: memoryview, changes: Changes, what: str) -> Iterator[tuple[int, bytes]]:
    """Where the file gets other bytes, and which."""
    spans = {}
    for where, tensors in changes.items():
        for name, tensor in tensors.items():
            label = f"{where}.{name}" if where else name
            place = _place(foreign, where, name, label, what)
            spans[where, name] = (place.offset, place.offset + place.length)
            yield place.offset, _bytes(place, tensor, view, label, what)
    _check_shared(foreign, spans, what)


def _place(foreign: Foreign, where: str, name: str, label: str, what: str) -> Place:
    network = foreign.networks.get(where)
    if network is None or name not in network.shapes:
        raise RewriteError(f"{what} has no tensor {label}; expected one of {', '.join(map(repr, foreign.networks))}")
    if name not in network.places:
        raise RewriteError(
            f"{what} does not store {label} as plain numbers (pickle protocol 2, or packed); write safetensors instead"
        )
    return network.places[name]


def _bytes(place: Place, tensor: Tensor, view: memoryview, label: str, what: str) -> bytes:
    if tuple(tensor.shape) != place.shape:
        raise RewriteError(f"{label} in {what} has shape {place.shape}, and the new one {tuple(tensor.shape)}")
    if not place.dtype.is_floating_point:
        raise RewriteError(f"{label} in {what} holds {place.dtype}; expected a type with a point, to hold weights")
    value = tensor.detach().cpu().to(place.dtype)
    if not finite(value):
        raise RewriteError(
            f"{label} would hold numbers that are not finite, or too large for {place.dtype}, which is what {what} "
            f"stores; write safetensors instead"
        )
    content = bytearray(view[place.offset : place.offset + place.length])
    if content:
        there = torch.frombuffer(content, dtype=place.dtype).as_strided(place.shape, place.stride)
        there.copy_(value)
        if not torch.equal(there, value):
            raise RewriteError(f"{what} stores some numbers of {label} once for several places; write safetensors")
    return bytes(content)


def _check_shared(foreign: Foreign, spans: Mapping[tuple[str, str], tuple[int, int]], what: str) -> None:
    """RewriteError if a changed tensor has numbers in common with any other in the file."""
    everything = sorted(
        (place.offset, place.offset + place.length, where, name)
        for where, network in foreign.networks.items()
        for name, place in network.places.items()
        if place.length
    )
    end, owner = -1, ("", "")
    for start, stop, where, name in everything:
        if start < end and ((where, name) in spans or owner in spans):
            raise RewriteError(
                f"{what} stores {_label(where, name)} and {_label(*owner)} as the same numbers, so neither changes "
                f"alone; write safetensors instead"
            )
        if stop > end:
            end, owner = stop, (where, name)


def _label(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _checksums(view: memoryview, patches: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
    """New CRC-32s of the archive's members that change."""
    for member in archive.members(view).values():
        start, stop = member.offset, member.offset + member.length
        if any(start <= at < stop for at in patches):
            checksum = 0
            for piece in _pieces(view, patches, start, stop):
                checksum = zlib.crc32(piece, checksum)
            for at in member.checksums:
                yield at, checksum.to_bytes(4, "little")


def _pieces(view: memoryview, patches: Mapping[int, bytes], start: int, stop: int) -> Iterator[bytes | memoryview]:
    """The file from `start` to `stop`, patched."""
    for at in sorted(at for at in patches if start <= at < stop):
        yield view[start:at]
        yield patches[at]
        start = at + len(patches[at])
    yield view[start:stop]


__all__ = ["Changes", "write"]
