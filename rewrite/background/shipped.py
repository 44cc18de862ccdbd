"""Means that came with a model, so that its first rule need not wait: float32, and half of what is symmetric."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edits.file import write_atomically
from rewrite.background.world import Background, seal
from rewrite.generator import Layer
from rewrite.memory import lag_reach
from rewrite.stats import SecondMoments, half_plane

KEY = "conditions"
SEAL = "seal"
MIDDLE = (0, 0)
"""The lag whose matrix is symmetric."""


def write(folder: Path, layer: Layer, conditions: Mapping[str, Any], world: Background) -> Path:
    """The file of a layer, in a folder that a `Generator` will name as its `statistics`."""
    tensors = {_name(lag): _packed(lag, world.moments.at(lag).float()) for lag, _ in world.moments}
    tensors["counts"] = torch.tensor([world.moments.positions, world.moments.images])
    if world.style_square is not None:
        tensors["style"] = world.style_square.float()
    title, path = _title(conditions), folder / f"{layer.name}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(tensors | {SEAL: seal(title, tensors)}, {KEY: title}))
    return path


def read(folder: Path | None, layer: Layer, conditions: Mapping[str, Any]) -> Background | None:
    """What came with the model under exactly these conditions, intact; else None, and it is counted."""
    path = folder / f"{layer.name}.safetensors" if folder else None
    if path is None or not path.is_file():
        return None
    title = _title(conditions)
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get(KEY) != title:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    found = tensors.pop(SEAL, None)
    if found is None or not torch.equal(found, seal(title, tensors)):
        return None
    positions, images = (int(count) for count in tensors["counts"])
    means = {lag: _unpacked(lag, tensors[_name(lag)], layer.in_features) for lag in half_plane(lag_reach(layer))}
    sums = {lag: mean.double() * positions for lag, mean in means.items()}
    style = tensors.get("style")
    return Background(SecondMoments(sums, positions, images), None if style is None else style.double())


def _title(conditions: Mapping[str, Any]) -> str:
    return json.dumps(dict(conditions), sort_keys=True)


def _name(lag: tuple[int, int]) -> str:
    return f"lag {lag[0]} {lag[1]}"


def _packed(lag: tuple[int, int], mean: Tensor) -> Tensor:
    if lag != MIDDLE:
        return mean.contiguous()
    rows, columns = torch.triu_indices(*mean.shape)
    return mean[rows, columns]


def _unpacked(lag: tuple[int, int], stored: Tensor, channels: int) -> Tensor:
    if lag != MIDDLE:
        return stored
    rows, columns = torch.triu_indices(channels, channels)
    mean = stored.new_zeros(channels, channels)
    mean[rows, columns] = mean[columns, rows] = stored
    return mean
