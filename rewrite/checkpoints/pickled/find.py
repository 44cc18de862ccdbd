"""The networks in a value that a pickle gave, wherever people put them."""

from __future__ import annotations

from typing import Any

from rewrite.checkpoints.content import Found
from rewrite.checkpoints.pickled.arrays import Array
from rewrite.checkpoints.pickled.constructors import Constructors
from rewrite.checkpoints.pickled.modules import is_module, is_tensor, is_tensorflow, module, tensorflow
from rewrite.checkpoints.pickled.plain import plain
from rewrite.checkpoints.pickled.values import Items, Value

DEPTH_LIMIT = 4
"""Of dictionaries around a state dict."""
TRIPLE = ("G", "D", "Gs")
"""What a row of three networks of TensorFlow holds; the last is the averaged generator."""
ROW_LIMIT = 16
NETWORK = 64
"""Opcodes that a network found is worth: a file may name one many times."""
OF_TRAINING = ("optim", "scheduler", "scaler", "rng_state", "callbacks", "loops")


def find(value: Value, constructors: Constructors) -> tuple[dict[str, Found], dict[str, Any]]:
    """Networks by where they are, and facts that lie beside them. States of optimizers and the like are left out."""
    search = _Search(constructors)
    search.walk(value, "", 0)
    return search.networks, search.facts


class _Search:
    def __init__(self, constructors: Constructors):
        self.constructors, self.effort = constructors, constructors.effort
        self.networks: dict[str, Found] = {}
        self.facts: dict[str, Any] = {}

    def walk(self, value: Value, path: str, depth: int) -> None:
        self.effort.text(len(path))
        if is_module(value, self.effort):
            self.effort.spend(NETWORK)
            self.networks[path] = module(value, self.effort)
        elif is_tensorflow(value, self.effort):
            self.networks[path] = tensorflow(value, self.effort, self.constructors.keep)
            self.constructors.persistent["Network"] = None
        elif is_tensor(value) and not path:
            self.networks[path] = Found({"tensor": value})
        elif isinstance(value, Items):
            self.dictionary(value, path, depth)
        elif isinstance(value, list | tuple) and 0 < len(value) <= ROW_LIMIT and depth < DEPTH_LIMIT:
            three = len(value) == 3 and all(is_tensorflow(part, self.effort) for part in value)
            for name, part in zip(TRIPLE if three else map(str, range(len(value))), value, strict=True):
                self.walk(part, _joined(path, name), depth + 1)

    def dictionary(self, value: Items, path: str, depth: int) -> None:
        named = value.named(self.effort)
        views = {name: part for name, part in named.items() if is_tensor(part)}
        if views:
            broken = {name: part.strange for name, part in named.items() if isinstance(part, Array) and part.strange}
            self.networks[path] = Found(views, broken=broken)
        for name, part in named.items():
            where, before = _joined(path, name), len(self.networks)
            if name in views or any(word in name.lower() for word in OF_TRAINING):
                continue
            if depth < DEPTH_LIMIT:
                self.walk(part, where, depth + 1)
            if depth == 0 and len(self.networks) == before:
                self.facts[where] = plain(part, self.effort)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


__all__ = ["find"]
