"""OpenVINO intermediate representation, version 10: an XML graph and a file of raw constants.

Only what a converter needs is read: which node feeds which, and the numbers of constant nodes. Nothing in the
file is executed, and its claims about sizes are checked against the bytes that are there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from xml.etree import ElementTree

import numpy as np

from rewrite.errors import RewriteError

ELEMENT_LIMIT = 1_000_000
XML_LIMIT = 64 * 2**20
RANK_LIMIT = 8
TYPES = {"f32": "<f4", "f16": "<f2", "i64": "<i8", "i32": "<i4", "i8": "<i1", "u8": "<u1"}


@dataclass(frozen=True)
class Node:
    """One operation: its kind ("Const", "MatMul", ...), attributes, and ids of its inputs in port order."""

    id: str
    name: str
    kind: str
    attributes: Mapping[str, str]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """Nodes by id, in file order, and the bytes that constants point into."""

    nodes: Mapping[str, Node]
    blob: bytes

    @cached_property
    def _named(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes.values()}

    @cached_property
    def _consumers(self) -> Mapping[str, tuple[Node, ...]]:
        found: dict[str, tuple[Node, ...]] = {}
        for node in self.nodes.values():
            for source in node.inputs:
                found[source] = (*found.get(source, ()), node)
        return found

    def named(self, name: str) -> Node:
        """The node of that name; RewriteError if there is none."""
        if name not in self._named:
            raise RewriteError(f"the OpenVINO graph has no node {name!r}; expected one, so this is another network")
        return self._named[name]

    def consumers(self, node: Node) -> tuple[Node, ...]:
        """The nodes that `node` feeds, in file order."""
        return self._consumers.get(node.id, ())

    def inputs(self, node: Node) -> tuple[Node, ...]:
        return tuple(self.nodes[i] for i in node.inputs)

    def following(self, node: Node, kind: str) -> Node:
        """The nearest node of `kind` downstream, along the first consumer; RewriteError if there is none."""
        seen = {node.id}
        while consumers := self.consumers(node):
            node = consumers[0]
            if node.kind == kind:
                return node
            if node.id in seen:
                break
            seen.add(node.id)
        raise RewriteError(f"the OpenVINO graph has no {kind} where one was expected, so this is another network")

    def constant(self, node: Node | str) -> np.ndarray:
        """The numbers of a constant node, in its shape and type.

        RewriteError if it is none, if its type is unknown, or if it reaches beyond the file of constants.
        """
        node = self.named(node) if isinstance(node, str) else node
        if node.kind != "Const":
            raise RewriteError(f"OpenVINO node {node.name!r} is a {node.kind}; expected a constant")
        shape = tuple(_whole(node, text) for text in node.attributes.get("shape", "").split(",") if text.strip())
        offset, size = (_whole(node, node.attributes.get(key, "")) for key in ("offset", "size"))
        stored = TYPES.get(node.attributes.get("element_type", ""))
        if stored is None or len(shape) > RANK_LIMIT:
            raise RewriteError(
                f"OpenVINO constant {node.name!r} has type {node.attributes.get('element_type')!r} and rank "
                f"{len(shape)}; expected {', '.join(TYPES)} and rank {RANK_LIMIT} or less"
            )
        if math.prod(shape) * np.dtype(stored).itemsize != size or offset + size > len(self.blob):
            raise RewriteError(
                f"OpenVINO constant {node.name!r} claims shape {shape} in {size} bytes at {offset} of a file "
                f"of {len(self.blob)}; the XML and the bin file do not belong together, or one is cut short"
            )
        return np.frombuffer(self.blob, stored, math.prod(shape), offset).reshape(shape)


def read(xml: bytes, blob: bytes) -> Graph:
    """The graph in `xml`, whose constants lie in `blob`.

    RewriteError if it is no well-formed IR of version 10, declares a document type, or is unreasonably large.
    """
    if len(xml) > XML_LIMIT:
        raise RewriteError(f"the OpenVINO XML has {len(xml)} bytes; expected {XML_LIMIT} at most")
    reader = _Reader()
    parser = ElementTree.XMLParser(target=reader)
    try:
        parser.feed(xml)
        parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise RewriteError(f"the OpenVINO XML cannot be read ({error}); fetch it again") from error
    if reader.version != "10":
        raise RewriteError(f"found an OpenVINO graph of version {reader.version!r}; expected version 10")
    return Graph(reader.nodes(), blob)


class _Reader:
    """Collects layers and edges as the parser meets them; no tree is built."""

    def __init__(self) -> None:
        self.version: str | None = None
        self._elements = 0
        self._layers: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        self._edges: dict[str, dict[int, str]] = {}
        self._data: dict[str, str] | None = None

    def doctype(self, *_: Any) -> None:
        raise RewriteError("the OpenVINO XML declares a document type, which no exporter writes; it is refused")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > ELEMENT_LIMIT:
            raise RewriteError(f"the OpenVINO XML has more than {ELEMENT_LIMIT} elements; it is refused")
        if tag == "net" and self._elements == 1:
            self.version = attributes.get("version")
        elif tag == "layer":
            name = attributes.get("id", "")
            if name in self._layers:
                raise RewriteError(f"the OpenVINO XML has two layers with id {name!r}; expected each once")
            self._data = {}
            self._layers[name] = (attributes, self._data)
        elif tag == "data" and self._data is not None:
            self._data.update(attributes)
        elif tag == "edge":
            ports = self._edges.setdefault(attributes.get("to-layer", ""), {})
            ports[int(attributes.get("to-port", ""))] = attributes.get("from-layer", "")

    def end(self, tag: str) -> None:
        if tag == "layer":
            self._data = None

    def close(self) -> None:
        pass

    def nodes(self) -> dict[str, Node]:
        unknown = {i for ports in self._edges.values() for i in ports.values()} | set(self._edges)
        if unknown := unknown - set(self._layers):
            raise RewriteError(f"the OpenVINO XML has edges to layer {min(unknown)!r}, which it does not have")
        return {
            i: Node(
                i, layer.get("name", ""), layer.get("type", ""), data,
                tuple(source for _, source in sorted(self._edges.get(i, {}).items())),
            )
            for i, (layer, data) in self._layers.items()
        }  # fmt: skip


def _whole(node: Node, text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise RewriteError(f"OpenVINO constant {node.name!r} has {text!r} where a whole number was expected")
    return int(text)
