"""Sums that were counted on this machine: whole or half done, exact, sealed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from edits.canonical import tensor_bytes
from edits.file import write_atomically
from rewrite.background.world import Background, nothing, seal
from rewrite.generator import Generator, Layer
from rewrite.home import home
from rewrite.memory import lag_reach
from rewrite.stats import SecondMoments, half_plane

SEAL = "seal"


def place(generator: Generator, conditions: dict[str, object], witness: Tensor | None) -> Path:
    """Where sums under these conditions lie; `witness` is a key as it is, where the weights do not tell it."""
    facts = conditions | {
        "device": generator.device.type,
        # Sums are split among threads, and their last bits with them.
        "threads": torch.get_num_threads(),
        "witness": None if witness is None else hashlib.sha256(tensor_bytes(witness)).hexdigest(),
    }
    return home("moments", hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() + ".safetensors")


def write(path: Path, counted: Background) -> None:
    tensors = _tensors(counted)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(tensors | {SEAL: seal(path.name, tensors)}))


def read(path: Path, layer: Layer) -> Background:
    """What the cache holds, or nothing counted: a cache that cannot be read is only a slower start."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return nothing(layer)
    found = tensors.pop(SEAL, None)
    if found is None or not torch.equal(found, seal(path.name, tensors)):
        return nothing(layer)
    sums = {(dy, dx): tensors[f"lag {dy} {dx}"] for dy, dx in half_plane(lag_reach(layer))}
    positions, images = (int(count) for count in tensors["counts"])
    return Background(SecondMoments(sums, positions, images), tensors.get("style"))


def _tensors(counted: Background) -> dict[str, Tensor]:
    moments = counted.moments
    tensors = {f"lag {dy} {dx}": total.contiguous() for (dy, dx), total in moments}
    tensors["counts"] = torch.tensor([moments.positions, moments.images])
    return tensors if counted.style_square is None else tensors | {"style": counted.style_square}
