"""What long work has so far, kept in one file on this machine, so that an interrupted one goes on to the same bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from edits.canonical import tensor_bytes
from edits.errors import EditError
from edits.file import write_atomically
from rewrite.home import home

SEAL = "seal"
ROOM = 2**33
"""Bytes that a room of the cache folder may take."""


def place(room: str, version: int, conditions: Mapping[str, Any]) -> Path:
    """Where work under these conditions (JSON) lies, in a room of the cache folder.

    `version` is that of what is done and how: a change of it must not find older work.
    """
    # Sums are split among threads, and their last bits with them.
    facts = {"version": version, "threads": torch.get_num_threads(), **conditions}
    return home(room, hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() + ".safetensors")


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Keep the tensors, whole or not at all: what cannot be written is only a slower start another time."""
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with suppress(OSError, EditError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(own | {SEAL: _seal(own)}))
        _prune(path)


def read(path: Path) -> dict[str, Tensor] | None:
    """What was kept there; None where nothing is, or what cannot be read: that is only a slower start."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    with suppress(OSError):
        path.touch()
    seal = tensors.pop(SEAL, None)
    return tensors if seal is not None and torch.equal(seal, _seal(tensors)) else None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, over names, shapes, types and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor_bytes(tensor.detach().cpu().contiguous()))
    return total.hexdigest()


def _prune(newest: Path) -> None:
    """Take away what was used least lately, until the room takes no more than it may; never the newest."""
    found = []
    for path in newest.parent.iterdir():
        with suppress(OSError):  # Another process may prune as well.
            found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    taken = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if taken <= ROOM:
            break
        if path != newest:
            path.unlink(missing_ok=True)
            taken -= size


def _seal(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.tensor(list(bytes.fromhex(digest(tensors))), dtype=torch.uint8)
