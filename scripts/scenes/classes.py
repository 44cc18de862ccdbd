"""The classes of a pixel, and the colours in which a label map is shown."""

from __future__ import annotations

import numpy as np

MAP = {
    "sky": (128, 184, 250),
    "cloud": (255, 255, 255),
    "sunmoon": (255, 214, 64),
    "hill": (120, 150, 130),
    "ground": (92, 190, 72),
    "path": (222, 178, 140),
    "wall": (236, 228, 208),
    "roof": (176, 62, 44),
    "dome": (64, 110, 200),
    "spire": (126, 76, 170),
    "window": (34, 40, 78),
    "door": (110, 40, 40),
    "tree": (22, 104, 44),
    "watermark": (226, 60, 160),
}
"""Red, green and blue, 0 to 255, of each class on a label map."""

CLASSES = tuple(MAP)
LABEL = {name: label for label, name in enumerate(CLASSES)}


def coloured(labels: np.ndarray) -> np.ndarray:
    """Label maps (N, H, W) as images (N, 3, H, W) uint8."""
    return np.array(list(MAP.values()), np.uint8)[labels].transpose(0, 3, 1, 2)
