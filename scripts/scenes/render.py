"""Seeds to images and label maps: the painter's algorithm, from the sky to the watermark."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scenes import building, land, sky, trees, watermark
from scenes.canvas import Canvas
from scenes.palette import LETTER, OUTLINE
from scenes.scene import Scene, draw

CHUNK = 128
"""Scenes painted at once: enough to amortise numpy, few enough to stay near the cache."""


def render(seeds: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 64, 64) uint8 and labels (N, 64, 64) uint8, indices of `CLASSES`, of seeds 0 to 2^32 - 1.

    A scene depends on its own seed alone, whatever the batch.
    """
    wanted = np.fromiter(seeds, np.int64)
    parts = [paint(draw(wanted[i : i + CHUNK])) for i in range(0, len(wanted), CHUNK)] or [Canvas.blank(0)]
    image = np.concatenate([np.rint(part.image * 255).astype(np.uint8) for part in parts])
    return image, np.concatenate([part.labels for part in parts])


def paint(scene: Scene) -> Canvas:
    """A batch of scenes."""
    canvas = Canvas.blank(len(scene.hour))
    sky.paint(canvas, scene)
    land.paint(canvas, scene)
    trees.paint(canvas, scene, trees.BEHIND)
    building.paint(canvas, scene)
    trees.paint(canvas, scene, trees.BEFORE)
    _sign(canvas, scene)
    return canvas


def _sign(canvas: Canvas, scene: Scene) -> None:
    for stencil, colour, name in (
        (0.55 * watermark.outline(), OUTLINE, None), (watermark.letters(), LETTER, "watermark"),
    ):  # fmt: skip
        colours = np.broadcast_to(np.array(colour, np.float32), (len(scene.hour), 3))
        canvas.paint(watermark.WINDOW, scene.watermark[:, None, None] * stencil.astype(np.float32), colours, name)
