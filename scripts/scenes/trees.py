"""Round trees and pointed ones, behind the building and before it."""

from __future__ import annotations

import numpy as np

from scenes.canvas import Canvas
from scenes.geometry import SIZE, Window, ellipse, trapezoid
from scenes.palette import GROUNDS, SNOW, TRUNK, mixed
from scenes.scene import Scene

BEHIND, BEFORE = (0, 1), (2, 3)
"""The places of a scene's trees."""
WINDOWS = (
    Window(top=25, bottom=50, right=23), Window(top=25, bottom=50, left=41),
    Window(top=28, bottom=60, right=20), Window(top=28, bottom=60, left=44),
)  # fmt: skip
NEAREST = ((8.0, 15.0), (SIZE - 15.0, SIZE - 8.0), (4.0, 10.0), (SIZE - 10.0, SIZE - 4.0))
"""Least and most x of each place."""
FEET = ((45.5, 48.5), (45.5, 48.5), (53.0, 58.0), (53.0, 58.0))
HEIGHTS = ((14.0, 19.0), (14.0, 19.0), (18.0, 24.0), (18.0, 24.0))


def paint(canvas: Canvas, scene: Scene, places: tuple[int, int]) -> None:
    """The trees of two places."""
    for place in places:
        for pointed, tree in ((False, _round), (True, _pointed)):
            chosen = np.flatnonzero(scene.trees[:, place] & (scene.tree_pointed[:, place] == pointed))
            part, some = canvas.take(chosen), scene.take(chosen)
            x, foot, tall = (
                np.float32(low) + np.float32(high - low) * share[:, place]
                for (low, high), share in (
                    (NEAREST[place], some.tree_x), (FEET[place], some.tree_y), (HEIGHTS[place], some.tree_size),
                )
            )  # fmt: skip
            tree(part, some, WINDOWS[place], x, foot, tall, some.leaf[:, place])
            canvas.put(chosen, part)


def _round(
    canvas: Canvas, scene: Scene, window: Window, x: np.ndarray, foot: np.ndarray, tall: np.ndarray, leaf: np.ndarray
) -> None:
    _trunk(canvas, scene, window, x, foot, 0.5 * tall, 0.07 * tall)
    colour = scene.lit(leaf)
    crown = np.maximum(
        ellipse(window, x, foot - 0.66 * tall, 0.30 * tall, 0.33 * tall),
        ellipse(window, x, foot - 0.52 * tall, 0.38 * tall, 0.22 * tall),
    )
    canvas.paint(window, crown, 0.78 * colour, "tree")
    bright = ellipse(window, x + 0.07 * tall * scene.side, foot - 0.68 * tall, 0.21 * tall, 0.22 * tall)
    cap = mixed(1.12 * colour, scene.lit(SNOW), 0.45 * _snowy(scene))
    canvas.paint(window, bright * crown, np.minimum(cap, 1))


def _pointed(
    canvas: Canvas, scene: Scene, window: Window, x: np.ndarray, foot: np.ndarray, tall: np.ndarray, leaf: np.ndarray
) -> None:
    _trunk(canvas, scene, window, x, foot, 0.3 * tall, 0.06 * tall)
    colour = scene.lit(0.92 * leaf)
    for low, high, half in ((0.14, 0.58, 0.33), (0.36, 0.80, 0.26), (0.58, 1.02, 0.19)):
        tier = trapezoid(window, x, foot - high * tall, foot - low * tall, 0.02 * tall, half * tall)
        shaded = mixed((0.72 + 0.3 * high) * colour, scene.lit(SNOW), 0.7 * high * _snowy(scene))
        canvas.paint(window, tier, np.minimum(shaded, 1), "tree")


def _trunk(
    canvas: Canvas, scene: Scene, window: Window, x: np.ndarray, foot: np.ndarray, tall: np.ndarray, half: np.ndarray
) -> None:
    stem = trapezoid(window, x, foot - tall, foot, 0.8 * half, 1.25 * half)
    canvas.paint(window, stem, scene.lit(TRUNK), "tree")


def _snowy(scene: Scene) -> np.ndarray:
    return (scene.ground == GROUNDS.index("snow")).astype(np.float32)[:, None]
