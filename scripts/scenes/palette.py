"""Colours, as red, green and blue in [0, 1], before the light of the hour falls on them."""

from __future__ import annotations

import numpy as np

HOURS = ("day", "dusk", "night", "grey")
GROUNDS = ("grass", "straw", "snow")
KINDS = ("house", "church", "hall")

SKY = np.array(
    [
        [[0.20, 0.50, 0.92], [0.42, 0.72, 0.98], [0.80, 0.93, 1.00]],
        [[0.36, 0.27, 0.55], [0.84, 0.46, 0.48], [1.00, 0.76, 0.44]],
        [[0.03, 0.04, 0.16], [0.08, 0.11, 0.32], [0.19, 0.24, 0.50]],
        [[0.58, 0.63, 0.70], [0.69, 0.73, 0.78], [0.84, 0.86, 0.87]],
    ],
    np.float32,
)
"""For each hour the sky above, half-way down and at the horizon."""
LIGHT = np.array([[1.02, 1.0, 0.97], [1.0, 0.80, 0.68], [0.38, 0.43, 0.66], [0.86, 0.88, 0.90]], np.float32)
"""What each hour does to a colour: a factor for each channel."""
GREYNESS = np.array([0.0, 0.05, 0.25, 0.4], np.float32)
"""How far each hour takes a colour to its own grey."""
SUN = np.array([[1.0, 0.90, 0.42], [1.0, 0.58, 0.27], [0.97, 0.96, 0.86], [1.0, 1.0, 1.0]], np.float32)
GLOW = np.array([[1.0, 0.98, 0.80], [1.0, 0.72, 0.40], [0.60, 0.68, 0.95], [1.0, 1.0, 1.0]], np.float32)
CLOUD = np.array([[1.0, 1.0, 1.0], [1.0, 0.80, 0.68], [0.27, 0.31, 0.50], [0.93, 0.94, 0.95]], np.float32)

GROUND = np.array([[0.38, 0.70, 0.25], [0.83, 0.70, 0.36], [0.93, 0.95, 0.99]], np.float32)
PATH = np.array([[0.87, 0.75, 0.56], [0.70, 0.50, 0.36], [0.72, 0.68, 0.68]], np.float32)
"""By the ground they lead over, so that they stand out from it."""
HILL = np.array(
    [[[0.28, 0.52, 0.36], [0.34, 0.48, 0.58]], [[0.56, 0.56, 0.34], [0.52, 0.44, 0.50]],
     [[0.60, 0.68, 0.78], [0.46, 0.54, 0.66]]], np.float32,
)  # fmt: skip
"""Two for each ground."""
WALLS = (
    (0.97, 0.94, 0.88),
    (0.95, 0.83, 0.58),
    (0.90, 0.70, 0.58),
    (0.76, 0.36, 0.28),
    (0.72, 0.80, 0.90),
    (0.70, 0.67, 0.64),
)
ROOFS = ((0.75, 0.28, 0.20), (0.46, 0.29, 0.22), (0.31, 0.36, 0.46), (0.24, 0.47, 0.40))
DOMES = ((0.22, 0.42, 0.82), (0.95, 0.72, 0.20), (0.82, 0.34, 0.24), (0.28, 0.62, 0.55), (0.88, 0.88, 0.90))
SPIRES = ((0.26, 0.31, 0.42), (0.66, 0.24, 0.22), (0.30, 0.52, 0.46), (0.28, 0.40, 0.70), (0.42, 0.28, 0.24))
DOORS = ((0.48, 0.26, 0.15), (0.16, 0.24, 0.50), (0.14, 0.40, 0.27), (0.58, 0.14, 0.14))
GREENS = ((0.20, 0.50, 0.22), (0.12, 0.42, 0.28), (0.34, 0.56, 0.20))
AUTUMNS = ((0.90, 0.50, 0.14), (0.80, 0.28, 0.16), (0.92, 0.70, 0.22))

TRUNK = (0.42, 0.28, 0.18)
SNOW = (0.95, 0.97, 1.0)
FRAME = (0.96, 0.94, 0.90)
PANE = (0.16, 0.20, 0.32)
LAMP = (1.0, 0.82, 0.32)
FINIAL = (0.95, 0.80, 0.35)
LETTER = (1.0, 1.0, 1.0)
OUTLINE = (0.12, 0.12, 0.16)


def lit(colour: np.ndarray, hour: np.ndarray) -> np.ndarray:
    """Colours (N, 3) in the light of an hour (N,)."""
    grey = colour.mean(1, keepdims=True)
    return np.clip((colour + GREYNESS[hour][:, None] * (grey - colour)) * LIGHT[hour], 0, 1)


def mixed(one: np.ndarray, other: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """`share` of the other colour."""
    return one + share * (other - one)
