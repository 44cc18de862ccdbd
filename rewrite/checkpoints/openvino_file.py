"""An OpenVINO graph and the file of its constants, as a file of named tensors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from rewrite.checkpoints import openvino
from rewrite.checkpoints.content import Content, Found
from rewrite.checkpoints.mapped import mapped
from rewrite.checkpoints.pickled.arrays import DTYPES
from rewrite.checkpoints.strided import Storage, steps, strided
from rewrite.errors import RewriteError


def weights(path: Path) -> Path:
    """Where the constants of the graph at `path` lie."""
    return path.with_suffix(".bin")


def read(path: Path, view: memoryview) -> Content:
    """The constants by the names of their nodes, and how many nodes there are of each kind."""
    if len(view) > openvino.XML_LIMIT:
        raise RewriteError(f"its XML has {len(view)} bytes; expected {openvino.XML_LIMIT} at most")
    # Its constants are views of what is given, whatever that is.
    graph = openvino.read(bytes(view), mapped(weights(path)))  # type: ignore[arg-type]
    found = Found()
    for node in graph.nodes.values():
        if node.kind == "Const":
            array = graph.constant(node)
            storage = Storage(DTYPES[array.dtype.str[1:]], array.size)
            storage.fill(array.reshape(-1).view(np.uint8).data, None)
            found.views[node.name] = strided(storage, 0, array.shape, steps(array.shape, fortran=False))
    kinds = dict(Counter(node.kind for node in graph.nodes.values()))
    why = ("an OpenVINO graph of version 10 (XML), its constants in the .bin file beside it",)
    return Content("OpenVINO IR", {"": found}, {"nodes": kinds}, why)


__all__ = ["read", "weights"]
