"""A scene in numbers that a network can be asked for: an index becomes one column for each of its values."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scenes.palette import GROUNDS, HOURS, KINDS
from scenes.scene import Scene

INDICES = {"hour": HOURS, "ground": GROUNDS, "kind": KINDS}
TURNS = {
    "hill_phase": (0, 1), "horizon": (40, 43.5), "sun_x": (7, 57), "sun_y": (7, 23),
    "cloud_x": (np.array([6, 24, 42]), np.array([24, 42, 60])), "cloud_y": (7, 18), "cloud_size": (0.75, 1.2),
    "path_end": (18, 46), "path_bend": (-5, 5), "centre": (27, 37), "base": (50.5, 53), "half": (12, 15.5),
    "tall": (11, 13.5), "steep": (0, 1), "form": (0, 1), "tree_x": (0, 1), "tree_y": (0, 1), "tree_size": (0, 1),
}  # fmt: skip
"""Least and most of what has a place or a size. Sine and cosine of its turn move what a convolution draws; a number
alone can only make it stronger."""
PLAIN = (
    "horizon", "sun", "sun_x", "sun_y", "sun_radius", "crescent", "clouds", "cloud_x", "cloud_y", "cloud_size",
    "hill_height", "hill_colour", "path_end", "path_bend", "path_width", "centre", "base", "half", "tall", "steep",
    "form", "wall", "roof", "dome", "spire", "door", "trees", "tree_pointed", "tree_x", "tree_y", "tree_size", "leaf",
    "watermark",
)  # fmt: skip
"""Fields that are numbers, flags or colours already."""


def describe(scene: Scene) -> Tensor:
    """(N, K) float32: every field of the scenes."""
    columns = [np.eye(len(values))[getattr(scene, name)] for name, values in INDICES.items()]
    columns += [np.reshape(getattr(scene, name), (len(scene.hour), -1)) for name in PLAIN]
    for name, (low, high) in TURNS.items():
        turns = 2 * np.pi * (getattr(scene, name) - low) / (high - low)
        columns += [np.reshape(wave(turns), (len(turns), -1)) for wave in (np.sin, np.cos)]
    # A building changes its plan at these: a gable or a tower in the middle, a tower at the left or the right.
    columns += [(scene.form < 0.5)[:, None], ((scene.form >= 0.5) & (scene.form < 0.75))[:, None]]
    return torch.from_numpy(np.concatenate([column.astype(np.float32) for column in columns], axis=1))
