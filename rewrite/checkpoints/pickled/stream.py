"""Torch's older format: a row of pickles, and behind them the bytes of the storages that they point at.

    pickles     a magic number, 1001, facts about the machine, the value, the keys of its storages
    storages    for each key: int64 number of elements, then the elements

NVIDIA's pickles hold one such stream for each tensor, of a single storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewrite.checkpoints.pickled.machine import Machine
from rewrite.checkpoints.pickled.storages import Storages
from rewrite.checkpoints.pickled.values import Items, Value
from rewrite.checkpoints.strided import Storage
from rewrite.errors import RewriteError

if TYPE_CHECKING:
    from rewrite.checkpoints.pickled.constructors import Constructors

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
START = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."


def read(view: memoryview, base: int | None, constructors: Constructors) -> Value:
    """The value in a stream that lies `base` bytes into the file; RewriteError unless it fills `view` exactly."""
    storages = Storages()
    machine = Machine(view, base, constructors.effort, constructors, constructors.known, storages)
    magic, version, system = (machine.run(machine.at) for _ in range(3))
    if magic != MAGIC or version != PROTOCOL:
        raise RewriteError("a stream of torch begins with another magic number or version than torch's; it is damaged")
    if not isinstance(system, Items) or system.named(constructors.effort).get("little_endian") is not True:
        raise RewriteError("it was written on a big-endian machine; save it again on a little-endian one")
    value, keys = machine.run(machine.at), machine.run(machine.at)
    if not isinstance(keys, list) or not all(type(key) is str for key in keys) or set(keys) != storages.keys:
        raise RewriteError("a stream of torch holds other storages than its tensors need; it is damaged")
    at = machine.at
    for key in keys:
        claimed, at = int.from_bytes(view[at : at + 8], "little", signed=True), at + 8
        for storage in storages.of(key):
            if storage.count != claimed:
                raise RewriteError(
                    f"storage {key!r:.40} has {claimed} elements in one place, {storage.count} in another"
                )
        length = claimed * storages.of(key)[0].dtype.itemsize
        for storage in storages.of(key):
            storage.fill(view[at : at + length], None if base is None else base + at)
        at += length
    if at != len(view):
        raise RewriteError(f"a stream of torch has {len(view)} bytes; expected {at}")
    constructors.beside(storages.sources)
    return value


def single(view: memoryview, base: int | None, constructors: Constructors) -> Storage:
    """The one storage in a stream inside of a pickle."""
    value = read(view, base, constructors.inner())
    if not isinstance(value, Storage):
        raise RewriteError("a tensor's numbers are no storage of torch; it is damaged, or made to do harm")
    return value


__all__ = ["MAGIC", "START", "read", "single"]
