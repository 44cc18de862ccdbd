"""Coverage of simple shapes, exact or from a signed distance, for a whole batch at once.

Every function takes a `Window` and numbers, one a scene, and returns coverage (N, h, w) in [0, 1]. Units are pixels;
x grows to the right, y downwards, the corner of the image is (0, 0). One shape for a batch of scenes is a few
passes over memory, which supersampling would multiply by its number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

SIZE = 64
"""Side of an image in pixels."""


@dataclass(frozen=True)
class Window:
    """The part of the image that a shape may touch: the smaller, the faster."""

    top: int = 0
    bottom: int = SIZE
    left: int = 0
    right: int = SIZE

    @property
    def place(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @cached_property
    def x(self) -> np.ndarray:
        """Centres of the columns, (1, 1, w)."""
        return np.arange(self.left, self.right, dtype=np.float32)[None, None] + np.float32(0.5)

    @cached_property
    def y(self) -> np.ndarray:
        """Centres of the rows, (1, h, 1)."""
        return np.arange(self.top, self.bottom, dtype=np.float32)[None, :, None] + np.float32(0.5)


def box(window: Window, left: np.ndarray, top: np.ndarray, right: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """An upright rectangle; exact."""
    return span(window.y, top, bottom) * span(window.x, left, right)


def span(at: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The share of a pixel around `at`, in one direction, that lies between `start` and `end`."""
    return np.clip(np.minimum(at + 0.5, spread(end)) - np.maximum(at - 0.5, spread(start)), 0, 1)


def trapezoid(
    window: Window, centre: np.ndarray, top: np.ndarray, bottom: np.ndarray, above: np.ndarray, below: np.ndarray
) -> np.ndarray:
    """Level top and bottom, half-widths `above` and `below`: a roof, a spire, a trunk, a tier of a fir."""
    slope = (below - above) / (bottom - top)
    half = spread(above) + (window.y - spread(top)) * spread(slope)
    sides = (half - np.abs(window.x - spread(centre))) * spread(1 / np.sqrt(1 + slope * slope)) + 0.5
    return np.clip(sides, 0, 1) * span(window.y, top, bottom)


def ellipse(window: Window, x: np.ndarray, y: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Half-axes `across` and `down`. Distance to first order: the implicit function over the length of its gradient."""
    u2 = np.square((window.x - spread(x)) / spread(across))
    v2 = np.square((window.y - spread(y)) / spread(down))
    gradient = np.sqrt(u2 / spread(across * across) + v2 / spread(down * down) + np.float32(1e-6))
    return np.clip((1 - (u2 + v2)) / (2 * gradient) + 0.5, 0, 1)


def halo(window: Window, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """A soft glow: 1 at the centre, a half at `radius`, a fifth at twice that."""
    distance = np.square(window.x - spread(x)) + np.square(window.y - spread(y))
    return 1 / (1 + distance / spread(radius * radius))


def under(window: Window, skyline: np.ndarray) -> np.ndarray:
    """All that lies below a skyline (N, w) of heights y: a range of hills, the ground."""
    return np.clip(window.y - skyline[:, None] + 0.5, 0, 1)


def ribbon(window: Window, centre: np.ndarray, half: np.ndarray) -> np.ndarray:
    """What lies within `half` (N, h, 1) of `centre` (N, h, 1), row by row: a path."""
    return np.clip(half - np.abs(window.x - centre) + 0.5, 0, 1)


def spread(number: np.ndarray) -> np.ndarray:
    """One number a scene, (N,), against rows and columns."""
    return number[:, None, None]
