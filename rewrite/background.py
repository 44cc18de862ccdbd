"""The rest of the world as a layer sees it: moments of its keys over many latents, cached."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from edits.canonical import tensor_bytes
from edits.file import write_atomically
from rewrite.generator import Generator, Layer, Noise, State
from rewrite.home import home
from rewrite.latents import Row
from rewrite.memory import lag_reach, maps, style_of
from rewrite.progress import Progress, quiet
from rewrite.stats import SecondMoments, half_plane

VERSION = 3
"""Of the arithmetic below: a change of it must not find older statistics."""
STREAM = 1
"""Background latents are rows of this stream, as in Rewriting: a recipe that names seeds shares none of them."""
HELD_OUT = 2
"""The stream that judges what was solved on the other one."""
BATCH = 8
SEAL = "seal"


@dataclass(frozen=True)
class Background:
    """Moments of a layer's keys with their lags, and E[s^2] of its modulation (in,), or None where it has no gain."""

    moments: SecondMoments
    style_square: Tensor | None


def background(
    generator: Generator,
    layer: Layer,
    *,
    samples: int,
    stream: int = STREAM,
    truncation: float = 1.0,
    noise: Noise = "const",
    cache: bool = True,
    progress: Progress = quiet,
) -> Background:
    """Background of a layer over rows 0 to samples - 1 of a stream.

    An interrupted run leaves what it has counted so far and goes on from there the next time, to the same bits.
    """
    path = _path(generator, layer, samples, stream, truncation, noise)
    counted = _read(path, layer) if cache else _nothing(layer)
    started = counted.moments.images
    try:
        while counted.moments.images < samples:
            done = counted.moments.images
            progress(f"moments of {layer.name}", done, samples)
            rows = range(done, min(done + BATCH, samples))
            state = natural(generator, layer, stream, rows, truncation=truncation, noise=noise)
            counted = _add(counted, state)
    finally:
        if cache and counted.moments.images > started:
            path.parent.mkdir(parents=True, exist_ok=True)
            tensors = _tensors(counted)
            write_atomically(path, save(tensors | {SEAL: _seal(path, tensors)}))
    progress(f"moments of {layer.name}", samples, samples)
    style = counted.style_square
    return Background(counted.moments, None if style is None else style / samples)


def _add(counted: Background, state: State) -> Background:
    """Sums with the images of a held pass counted in (here `style_square` is a sum as well)."""
    style, total = style_of(state), counted.style_square
    return Background(
        counted.moments.add(maps(state.key)),
        total if style is None or total is None else total + (style**2).sum(0),
    )


def natural(
    generator: Generator, layer: Layer, stream: int, rows: range, *, truncation: float, noise: Noise = "const"
) -> State:
    """Natural images held at a layer: rows of a stream, going round the classes of a conditional model."""
    label = [row % generator.classes for row in rows] if generator.classes else None
    with torch.no_grad():
        z = generator.latents(Row(stream, row) for row in rows)
        ws = generator.styles(z, truncation=truncation, label=label)
        return generator.run_to(layer, ws=ws, noise=noise)


def _path(generator: Generator, layer: Layer, samples: int, stream: int, truncation: float, noise: Noise) -> Path:
    facts = {
        "version": VERSION,
        "architecture": generator.architecture,
        "upstream": generator.fingerprint(layer),
        "layer": layer.name,
        "latents": [stream, samples, generator.classes],
        "truncation": truncation,
        "noise": noise,
        "device": generator.device.type,
        # Sums are split among threads, and their last bits with them.
        "threads": torch.get_num_threads(),
        "witness": _witness(generator, layer, stream),
    }
    return home("moments", hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() + ".safetensors")


def _witness(generator: Generator, layer: Layer, stream: int) -> str | None:
    """What a wrapped network really does: its weights do not tell its activations, nor how its latents are drawn."""
    if generator.network is None:
        return None
    key = natural(generator, layer, stream, range(1), truncation=1.0).key
    return hashlib.sha256(tensor_bytes(key)).hexdigest()


def _nothing(layer: Layer) -> Background:
    style = torch.zeros(layer.in_features, dtype=torch.float64) if layer.gain else None
    return Background(SecondMoments.empty(layer.in_features, lag_reach(layer)), style)


def _tensors(counted: Background) -> dict[str, Tensor]:
    moments = counted.moments
    tensors = {f"lag {dy} {dx}": total.contiguous() for (dy, dx), total in moments}
    tensors["counts"] = torch.tensor([moments.positions, moments.images])
    return tensors if counted.style_square is None else tensors | {"style": counted.style_square}


def _seal(path: Path, tensors: dict[str, Tensor]) -> Tensor:
    """SHA-256 of what a cache file holds, under its own name: damage and mix-ups are not mistaken for statistics."""
    total = hashlib.sha256(path.name.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        total.update(tensor_bytes(tensor))
    return torch.tensor(list(total.digest()), dtype=torch.uint8)


def _read(path: Path, layer: Layer) -> Background:
    """What the cache holds, or nothing counted: a cache that cannot be read is only a slower start."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return _nothing(layer)
    seal = tensors.pop(SEAL, None)
    if seal is None or not torch.equal(seal, _seal(path, tensors)):
        return _nothing(layer)
    sums = {(dy, dx): tensors[f"lag {dy} {dx}"] for dy, dx in half_plane(lag_reach(layer))}
    positions, images = (int(count) for count in tensors["counts"])
    return Background(SecondMoments(sums, positions, images), tensors.get("style"))
