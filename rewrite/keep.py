"""What long work has so far, kept in one file on this machine, so that an interrupted one goes on to the same bits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from edits.canonical import tensor_bytes
from edits.file import write_atomically
from rewrite.home import home

SEAL = "seal"


def place(room: str, version: int, conditions: Mapping[str, Any]) -> Path:
    """Where work under these conditions (JSON) lies, in a room of the cache folder.

    `version` is that of what is done and how: a change of it must not find older work.
    """
    # Sums are split among threads, and their last bits with them.
    facts = {"version": version, "threads": torch.get_num_threads(), **conditions}
    return home(room, hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() + ".safetensors")


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Keep the tensors, whole or not at all."""
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(own | {SEAL: _seal(own)}))


def read(path: Path) -> dict[str, Tensor] | None:
    """What was kept there; None where nothing is, or what cannot be read: that is only a slower start."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return None
    seal = tensors.pop(SEAL, None)
    return tensors if seal is not None and torch.equal(seal, _seal(tensors)) else None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, over names, shapes, types and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor_bytes(tensor.detach().cpu().contiguous()))
    return total.hexdigest()


def _seal(tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.tensor(list(bytes.fromhex(digest(tensors))), dtype=torch.uint8)
