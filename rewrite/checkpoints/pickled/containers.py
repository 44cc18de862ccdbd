"""The three ways in which a pickle comes as a file: as torch's archive, as its older stream, and as it is."""

from __future__ import annotations

from rewrite.checkpoints import archive
from rewrite.checkpoints.content import Content
from rewrite.checkpoints.pickled import stream
from rewrite.checkpoints.pickled.constructors import Constructors
from rewrite.checkpoints.pickled.effort import Effort
from rewrite.checkpoints.pickled.find import find
from rewrite.checkpoints.pickled.machine import Machine
from rewrite.checkpoints.pickled.storages import Storages
from rewrite.checkpoints.pickled.values import Value
from rewrite.errors import RewriteError

NAMED = 12
"""Classes that are named in a finding."""


def pickled(view: memoryview) -> Content:
    """A bare pickle: NVIDIA's, StyleGAN-XL's, or TensorFlow-era."""
    constructors = Constructors(Effort())
    machine = Machine(view, 0, constructors.effort, constructors, constructors.known)
    value = machine.run()
    if value == stream.MAGIC:
        return streamed(view)
    if machine.at != len(view):
        raise RewriteError(f"its pickle ends at byte {machine.at}, and the file at {len(view)}; it is damaged")
    return _content("pickle", value, constructors, f"a pickle of protocol {view[1]}")


def streamed(view: memoryview) -> Content:
    """What torch.save wrote before torch 1.6."""
    constructors = Constructors(Effort())
    value = stream.read(view, 0, constructors)
    return _content("torch stream", value, constructors, "torch's older stream, by its magic number")


def zipped(view: memoryview, members: dict[str, archive.Member]) -> Content:
    """What torch.save writes since torch 1.6. RewriteError if it is packed, or was written on a big-endian machine."""
    root, *others = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if others:
        raise RewriteError("its archive has two pickles, of which others may read another one; expected one")
    if any(member.method != archive.STORED for member in members.values()):
        raise RewriteError("its archive is compressed, which torch.save never does; unpack it and zip it uncompressed")
    order = members.get(f"{root}byteorder")
    if order is not None and bytes(view[order.offset : order.offset + order.length]) != b"little":
        raise RewriteError("it was written on a big-endian machine; save it again on a little-endian one")
    constructors, storages = Constructors(Effort()), Storages()
    member = members[f"{root}data.pkl"]
    content = view[member.offset : member.offset + member.length]
    machine = Machine(content, member.offset, constructors.effort, constructors, constructors.known, storages)
    value = machine.run()
    if machine.at != len(content):
        raise RewriteError(f"its pickle ends at byte {machine.at} of {len(content)}; it is damaged")
    for key in storages.keys:
        data = members.get(f"{root}data/{key}")
        if data is None:
            raise RewriteError(f"its archive lacks storage {key!r:.40}; it is damaged")
        for storage in storages.of(key):
            storage.fill(view[data.offset : data.offset + data.length], data.offset)
    constructors.beside(storages.sources)
    script = [f"{root}code/"] if any(name.startswith(f"{root}code/") for name in members) else []
    found = _content("torch zip", value, constructors, "a zip archive with data.pkl, as torch.save writes it")
    if not script:
        return found
    return Content(
        found.container, found.networks, found.facts, (*found.why, "it holds a TorchScript program"),
        found.unexplained, (*found.code, "a TorchScript program"),
    )  # fmt: skip


def _content(container: str, value: Value, constructors: Constructors, why: str) -> Content:
    networks, facts = find(value, constructors)
    unexplained = tuple(sorted(constructors.unknown))
    code = []
    if constructors.sources:
        some = sorted(constructors.persistent)
        classes = ", ".join(name[:80] for name in some[:NAMED]) + (", ..." if len(some) > NAMED else "")
        count = len(constructors.sources)
        code.append(f"{count} Python source file{'s' if count > 1 else ''}, for {classes}")
        facts["sources"] = dict(constructors.sources)
    if unexplained:
        code.append(f"names that it would import and call: {len(unexplained)}")
    return Content(container, networks, facts, (why,), unexplained, tuple(code))


__all__ = ["pickled", "streamed", "zipped"]
