"""A file mapped into memory, and tensors that are views of it: what is not asked for is not read."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from edits.file import open_regular
from rewrite.checkpoints.foreign import Place
from rewrite.checkpoints.strided import Strided
from rewrite.errors import RewriteError


def mapped(path: Path) -> memoryview:
    """The bytes of a regular file. Writing to them changes a private copy. Do not truncate the file meanwhile.

    OSError if it cannot be read.
    """
    if sys.byteorder != "little":
        raise RewriteError("checkpoints are little endian, and this machine is not; read them on another one")
    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            return memoryview(bytearray())
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))


class Tensors(Mapping[str, Tensor]):
    """Tensors by name, each made when it is asked for: a view of the file where it is aligned there, else a copy."""

    def __init__(self, views: Mapping[str, Strided]):
        self._views = views

    def __getitem__(self, name: str) -> Tensor:
        return numbers(self._views[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


def numbers(strided: Strided) -> Tensor:
    """The tensor, contiguous."""
    view, dtype = strided.storage.view, strided.dtype
    if view is None:
        raise RewriteError("a tensor has no numbers in the file; it is damaged")
    place = Place(strided.start * dtype.itemsize, dtype, strided.shape, strided.stride)
    if place.length == 0:
        return torch.empty(strided.shape, dtype=dtype)
    content = view[place.offset : place.offset + place.length]
    if strided.storage.offset is None or (strided.storage.offset + place.offset) % dtype.itemsize:
        content = memoryview(bytearray(content))
    if dtype == torch.bool:
        # Of a bool that is neither 0 nor 1 nothing is certain.
        return (torch.frombuffer(content, dtype=torch.uint8).as_strided(place.shape, place.stride) != 0).contiguous()
    return torch.frombuffer(content, dtype=dtype).as_strided(place.shape, place.stride).contiguous()


def place(strided: Strided) -> Place | None:
    """Where its numbers lie in the file; None where they do not lie there as they are."""
    offset = strided.storage.offset
    if offset is None:
        return None
    return Place(offset + strided.start * strided.dtype.itemsize, strided.dtype, strided.shape, strided.stride)


__all__ = ["Tensors", "mapped", "numbers", "place"]
