"""Networks that were pickled as objects: modules of torch with everything in them, and those of NVIDIA's TensorFlow
code. Their classes are not needed: what a module holds lies in its state."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import torch

from rewrite.checkpoints.content import Found
from rewrite.checkpoints.pickled.arrays import Array
from rewrite.checkpoints.pickled.effort import Effort
from rewrite.checkpoints.pickled.plain import plain
from rewrite.checkpoints.pickled.values import Items, Record, Value
from rewrite.checkpoints.strided import Storage, Strided, strided
from rewrite.errors import RewriteError

DEPTH_LIMIT = 64
MODULE_LIMIT = 20_000
KIND_LIMIT = 120
"""Letters of what stands where a tensor should."""
NAME = re.compile(r"\w{1,256}")


def is_tensor(value: Value) -> bool:
    return isinstance(value, Strided) and not (isinstance(value, Array) and value.strange)


def is_module(value: Value, effort: Effort) -> bool:
    return isinstance(value, Record) and {"_parameters", "_buffers", "_modules"} <= value.attributes(effort).keys()


def module(record: Record, effort: Effort) -> Found:
    """A module of torch: its parameters and buffers under the names of its state dict, its plain attributes."""
    found = Found()
    modules: dict[str, Any] = {}
    waiting = [("", record, 0)]
    while waiting:
        path, one, depth = waiting.pop()
        if depth > DEPTH_LIMIT or len(modules) > MODULE_LIMIT:
            raise RewriteError(
                f"its network has modules {DEPTH_LIMIT} deep or more than {MODULE_LIMIT} of them, as if one were part "
                f"of itself; it is refused"
            )
        attributes = one.attributes(effort)
        effort.spend(len(attributes))
        effort.text(len(path))
        _tensors(path, attributes, found, effort)
        modules[path] = _facts(one, attributes, effort)
        inner = [(_joined(path, name), part) for name, part in _named(attributes, "_modules", effort).items()]
        for name, part in reversed(inner):
            if is_module(part, effort):
                waiting.append((name, part, depth + 1))
            elif part is not None:
                found.broken[name] = _kind(part)
    found.facts = {"origin": "persistent" if record.source else "module", **modules.pop(""), "modules": modules}
    return found


def is_tensorflow(value: Value, effort: Effort) -> bool:
    return isinstance(value, Record) and {"variables", "static_kwargs"} <= value.attributes(effort).keys()


def tensorflow(record: Record, effort: Effort, keep: Callable[[str], str]) -> Found:
    """A network of NVIDIA's TensorFlow code: its variables as "component/name", as they were stored.

    `keep` takes the source that built it, and gives its digest.
    """
    found = Found()
    modules: dict[str, Any] = {}
    waiting = [("", record)]
    while waiting:
        path, one = waiting.pop()
        state = one.attributes(effort)
        variables = state.get("variables")
        if len(modules) > DEPTH_LIMIT or not isinstance(variables, list):
            raise RewriteError("its network of TensorFlow has too many components, or none of its variables")
        effort.spend(len(variables))
        for pair in variables:
            match pair:
                case (str(name), value):
                    effort.text(len(path) + len(name))
                    _put(found, f"{path}/{name}" if path else name, _variable(value))
                case _:
                    raise RewriteError("its network of TensorFlow has variables without names")
        source = state.get("build_module_src")
        modules[path] = {
            "class": "Network",
            "source": keep(source) if type(source) is str and source else None,
            "init_args": [],
            "init_kwargs": plain(given, effort) if isinstance(given := state.get("static_kwargs"), Items) else {},
            "attributes": {key: plain(state.get(key), effort) for key in ("name", "version", "build_func_name")},
        }
        components = state.get("components")
        for name, part in components.named(effort).items() if isinstance(components, Items) else ():
            if is_tensorflow(part, effort):
                waiting.append((f"{path}/{name}" if path else name, part))
    found.facts = {"origin": "tensorflow", **modules.pop(""), "modules": modules}
    return found


def _variable(value: Value) -> Value:
    """A scalar of numpy, as a variable without axes is stored, as a tensor that has no place in the file."""
    if type(value) is not float:
        return value
    storage = Storage(torch.float64, 1)
    storage.fill(memoryview(bytearray(struct.pack("<d", value))), None)
    return strided(storage, 0, (), ())


def _named(attributes: Mapping[str, Value], key: str, effort: Effort) -> dict[str, Value]:
    items = attributes.get(key)
    if not isinstance(items, Items):
        return {}
    named = items.named(effort)
    if len(named) != len(items.pairs) or not all(NAME.fullmatch(name) for name in named):
        raise RewriteError(f"its network has {key[1:]} with names that no module takes, or takes twice")
    return named


def _tensors(path: str, attributes: Mapping[str, Value], found: Found, effort: Effort) -> None:
    passing = attributes.get("_non_persistent_buffers_set")
    skipped = {name for name in passing if type(name) is str} if isinstance(passing, list) else set()
    for kind in ("_parameters", "_buffers"):
        for name, value in _named(attributes, kind, effort).items():
            if kind == "_parameters" or name not in skipped:
                # Their names repeat the path, which may be long.
                effort.text(len(path))
                _put(found, _joined(path, name), value)


def _put(found: Found, name: str, value: Value) -> None:
    if is_tensor(value):
        found.views[name] = value
    elif value is not None:
        found.broken[name] = _kind(value)


def _facts(record: Record, attributes: Mapping[str, Value], effort: Effort) -> dict[str, Any]:
    shown = {
        name: plain(value, effort)
        for name, value in attributes.items()
        if not name.startswith("_") and name != "training" and not isinstance(value, Record)
    }
    args, kwargs = (plain(attributes.get(f"_init_{kind}"), effort) for kind in ("args", "kwargs"))
    return {
        "class": record.name.name,
        "source": record.source,
        "init_args": args if isinstance(args, list) else [],
        "init_kwargs": kwargs if isinstance(kwargs, dict) else {},
        "attributes": shown,
    }


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _kind(value: Value) -> str:
    if isinstance(value, Array):
        return value.strange
    return str(value.name)[:KIND_LIMIT] if isinstance(value, Record) else type(value).__name__


__all__ = ["is_module", "is_tensor", "is_tensorflow", "module", "tensorflow"]
