"""Any checkpoint, recognised by what is in it, as plain values. A file's name and suffix mean nothing."""

from __future__ import annotations

import re
from pathlib import Path

from rewrite.checkpoints import archive, numpy_file, openvino_file, safetensors_file, strangers
from rewrite.checkpoints.content import Content, Found
from rewrite.checkpoints.foreign import Foreign, Network
from rewrite.checkpoints.mapped import Tensors, mapped, place
from rewrite.checkpoints.pickled import containers, stream
from rewrite.checkpoints.tidy import chosen, tidied
from rewrite.errors import RewriteError

_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|net\b)")


def read(path: str | Path) -> Foreign:
    """What is in a checkpoint file of anybody's, without running any of it; its tensors are read when asked for.

    RewriteError, in a sentence: for what is no checkpoint, is damaged, or was made to do harm, and where the network
    to use has something else in place of a tensor.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise RewriteError(f"{path} is {strangers.folder([one.name for one in path.iterdir()])}")
        view = mapped(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RewriteError(f"{path} cannot be read ({reason}); expected a checkpoint file; check the path") from None
    try:
        content = _content(path, view)
        return _foreign(content)
    except MemoryError:
        raise RewriteError(f"{path} does not fit into the memory that there is; free some") from None
    except _NoCheckpoint as error:
        raise RewriteError(f"{path} is {error}") from None
    except RewriteError as error:
        raise RewriteError(f"{path} is no checkpoint that can be read: {error}") from None


class _NoCheckpoint(Exception):
    """The file is something else; the text says what."""


def _content(path: Path, view: memoryview) -> Content:
    head = bytes(view[:256])
    if head.startswith(archive.START) or head.startswith(b"PK\x05\x06"):
        members = archive.members(view)
        if any(name.endswith("/data.pkl") for name in members):
            return containers.zipped(view, members)
        if members and all(name.endswith(".npy") for name in members):
            return numpy_file.many(view, members)
        raise _NoCheckpoint(strangers.archive(list(members)))
    if head.startswith(stream.START):
        return containers.streamed(view)
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return containers.pickled(view)
    if safetensors_file.looks(view):
        return safetensors_file.read(path, view)
    if head.startswith(numpy_file.START):
        return numpy_file.one(view)
    if _XML.match(head):
        return _graph(path, view)
    raise _NoCheckpoint(strangers.described(view))


def _graph(path: Path, view: memoryview) -> Content:
    if b"<net" not in bytes(view[:4096]):
        raise _NoCheckpoint("XML text that is no OpenVINO graph; expected the checkpoint of a generator")
    if not (weights := openvino_file.weights(path)).is_file():
        raise _NoCheckpoint(f"an OpenVINO graph whose weights are not beside it; expected {weights.name}")
    return openvino_file.read(path, view)


def _foreign(content: Content) -> Foreign:
    networks, said = tidied(content.networks)
    best, reasons = chosen(networks)
    if best in networks and (broken := networks[best].broken):
        name, what = next(iter(broken.items()))
        raise RewriteError(f"{f'{best}.{name}' if best else name!s:.200} is {what:.200}, and no tensor")
    return Foreign(
        content.container,
        {where: _network(found) for where, found in networks.items()},
        best,
        content.facts,
        (*content.why, *said, *reasons),
        content.unexplained,
        content.code,
    )


def _network(found: Found) -> Network:
    places = {name: where for name, view in found.views.items() if (where := place(view)) is not None}
    shapes = {name: view.shape for name, view in found.views.items()}
    return Network(Tensors(found.views), found.facts, places, shapes)


__all__ = ["read"]
