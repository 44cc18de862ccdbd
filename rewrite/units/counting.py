"""Measurements that grow row by row: an interrupted one goes on where it stopped, to the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from rewrite import keep
from rewrite.progress import Progress

VERSION = 2
"""Of what is counted and how: a change of it must not find older measurements."""
OFTEN = 60.0
"""Seconds between two savings."""
DONE = "done"

T = TypeVar("T")


def place(conditions: Mapping[str, Any]) -> Path:
    """Where a measurement under these conditions (JSON) lies."""
    return keep.place("audits", VERSION, conditions)


def count(
    empty: T,
    rows: range,
    batch: int,
    step: Callable[[T, range, slice], T],
    *,
    path: Path | None,
    what: str,
    progress: Progress,
) -> T:
    """The measurement with rows counted in, `batch` at a time: `step(state, block, part)` runs the rows of a block and
    counts those of `part` in.

    Blocks begin at multiples of `batch` however the rows are cut, so parts of an audit see the same numbers to the bit.
    With a `path` the state is kept there, also when the work is interrupted, and an earlier one is gone on from.
    """
    state, done = (empty, rows.start) if path is None else _read(path, empty, rows.start)
    saved, kept = time.monotonic(), done
    try:
        while done < rows.stop:
            progress(what, done - rows.start, len(rows))
            first = done - done % batch
            stop = min(first + batch, rows.stop)
            state = step(state, range(first, first + batch), slice(done - first, stop - first))
            done = stop
            if path is not None and time.monotonic() - saved > OFTEN:
                _write(path, state, done)
                saved, kept = time.monotonic(), done
    finally:
        if path is not None and done > kept:
            _write(path, state, done)
    progress(what, len(rows), len(rows))
    return state


def flat(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors and whole numbers within frozen dataclasses and dictionaries, by their paths."""
    if isinstance(value, Tensor):
        return {prefix: value}
    if type(value) is int:
        return {prefix: torch.tensor(value)}
    return {name: tensor for key, item in _items(value) for name, tensor in flat(item, f"{prefix}/{key}").items()}


def filled(template: T, tensors: Mapping[str, Tensor], prefix: str = "") -> T:
    """`template` with the tensors that `flat` gave in place of its own."""
    made: Any
    if isinstance(template, Tensor):
        made = tensors[prefix]
    elif type(template) is int:
        made = int(tensors[prefix])
    elif isinstance(template, dict):
        made = {key: filled(item, tensors, f"{prefix}/{key}") for key, item in template.items()}
    elif is_dataclass(template) and not isinstance(template, type):
        inside = {key: filled(item, tensors, f"{prefix}/{key}") for key, item in _items(template)}
        made = replace(template, **inside)
    else:
        made = template
    return cast(T, made)


def _items(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items()]
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    return []


def _write(path: Path, state: object, done: int) -> None:
    keep.write(path, flat(state) | {DONE: torch.tensor(done)})


def _read(path: Path, empty: T, start: int) -> tuple[T, int]:
    """What was kept, or the beginning."""
    tensors = keep.read(path)
    return (empty, start) if tensors is None else (filled(empty, tensors), int(tensors[DONE]))
