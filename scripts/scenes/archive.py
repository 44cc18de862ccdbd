"""Scenes rendered once, and the order in which training sees them."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from scenes.geometry import SIZE
from scenes.render import render

PART = 1024


def prerender(path: Path, count: int, *, first: int = 0, processes: int = 1) -> None:
    """Write the images of seeds `first` to `first + count` - 1 to a .npy file, (count, 3, 64, 64) uint8.

    It is written beside its name and renamed: a file of that name is whole. 100,000 scenes take 1.2 GB.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    images = np.lib.format.open_memmap(beside, "w+", np.uint8, (count, 3, SIZE, SIZE))
    ranges = [range(start, min(start + PART, first + count)) for start in range(first, first + count, PART)]
    if processes == 1:
        for seeds in ranges:
            images[seeds[0] - first : seeds[-1] + 1 - first] = _images(seeds)
    else:
        with ProcessPoolExecutor(processes) as pool:
            for seeds, part in zip(ranges, pool.map(_images, ranges), strict=True):
                images[seeds[0] - first : seeds[-1] + 1 - first] = part
    images.flush()
    os.replace(beside, path)


def batch(images: np.ndarray, seen: int, size: int) -> np.ndarray:
    """The `size` images after the first `seen`: each epoch in an order of its own, all from the counter alone."""
    at = np.arange(seen, seen + size)
    chosen = [_order(int(i) // len(images), len(images))[i % len(images)] for i in at]
    return images[chosen]


def _images(seeds: range) -> np.ndarray:
    return render(seeds)[0]


@lru_cache(maxsize=2)
def _order(epoch: int, count: int) -> np.ndarray:
    return np.random.RandomState(epoch).permutation(count)
