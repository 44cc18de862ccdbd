"""The sky of an hour, stars, sun or moon, clouds."""

from __future__ import annotations

import numpy as np

from scenes import palette
from scenes.canvas import Canvas
from scenes.geometry import Window, ellipse, halo, span, spread
from scenes.palette import mixed
from scenes.scene import Scene

ABOVE = Window(bottom=46)
HEAVEN = Window(bottom=32)
STARS = (8, 20, 4, 13, 6, 19, 3, 14, 8, 22, 28, 28), (5, 12, 19, 25, 33, 38, 45, 50, 57, 61, 8, 55)
"""Rows and columns: the same constellation every night."""
PLACES = (Window(bottom=26, right=36), Window(bottom=26, left=12, right=54), Window(bottom=26, left=30))
PUFFS = ((-4.5, 0.4, 4.0, 2.2), (0.0, -1.2, 4.2, 3.4), (4.6, 0.3, 3.8, 2.3))
"""Each part of a cloud of size 1: x, y, half-axes."""


def paint(canvas: Canvas, scene: Scene) -> None:
    """Everything above the hills."""
    _air(canvas, scene)
    for hour, body in (("night", _moon), ("day", _sun), ("dusk", _sun)):
        chosen = np.flatnonzero(scene.hour == palette.HOURS.index(hour))
        part = canvas.take(chosen)
        body(part, scene.take(chosen))
        canvas.put(chosen, part)
    for place in range(3):
        chosen = np.flatnonzero(scene.clouds[:, place])
        part = canvas.take(chosen)
        _cloud(part, scene.take(chosen), place)
        canvas.put(chosen, part)


def horizon_colour(scene: Scene) -> np.ndarray:
    return palette.SKY[scene.hour, 2]


def _air(canvas: Canvas, scene: Scene) -> None:
    down = np.clip(ABOVE.y / spread(scene.horizon), 0, 1)[:, None]
    above, half_way, low = (colour[:, :, None, None] for colour in palette.SKY[scene.hour].transpose(1, 0, 2))
    # Quadratic through three colours: no crease half-way down.
    canvas.image[:, :, : ABOVE.bottom] = (1 - down) ** 2 * above + 2 * down * (1 - down) * half_way + down**2 * low


def _sun(canvas: Canvas, scene: Scene) -> None:
    glow = 0.75 * spread(scene.sun) * halo(ABOVE, scene.sun_x, scene.sun_y, 1.6 * scene.sun_radius)
    canvas.paint(ABOVE, glow, palette.GLOW[scene.hour])
    disc = spread(scene.sun) * ellipse(HEAVEN, scene.sun_x, scene.sun_y, scene.sun_radius, scene.sun_radius)
    canvas.paint(HEAVEN, disc, palette.SUN[scene.hour], "sunmoon")


def _moon(canvas: Canvas, scene: Scene) -> None:
    canvas.image[:, :, STARS[0], STARS[1]] += np.float32(0.45)
    glow = 0.4 * spread(scene.sun) * halo(ABOVE, scene.sun_x, scene.sun_y, 1.4 * scene.sun_radius)
    canvas.paint(ABOVE, glow, palette.GLOW[scene.hour])
    disc = ellipse(HEAVEN, scene.sun_x, scene.sun_y, scene.sun_radius, scene.sun_radius)
    bite = ellipse(HEAVEN, scene.sun_x + 0.75 * scene.sun_radius, scene.sun_y - 0.5, scene.sun_radius, scene.sun_radius)
    shown = np.where(spread(scene.crescent), np.minimum(disc, 1 - bite), disc) * spread(scene.sun)
    canvas.paint(HEAVEN, shown, palette.SUN[scene.hour], "sunmoon")


def _cloud(canvas: Canvas, scene: Scene, place: int) -> None:
    x, y, size = scene.cloud_x[:, place], scene.cloud_y[:, place], scene.cloud_size[:, place]
    window = PLACES[place]
    coverage = np.zeros((1, 1, 1), np.float32)
    for right, down, across, tall in PUFFS:
        puff = ellipse(window, x + right * size, y + down * size, across * size, tall * size)
        coverage = np.maximum(coverage, puff)
    # A flat bottom, a little grey towards it.
    coverage *= span(window.y, y - 16, y + 1.6 * size)
    white = palette.CLOUD[scene.hour]
    below = np.clip((window.y - spread(y)) / 5 + 0.4, 0, 1)[:, None]
    shadow = white * mixed(palette.SKY[scene.hour, 1], np.float32(1), np.float32(0.5))
    shaded = mixed(white[:, :, None, None], shadow[:, :, None, None], below)
    canvas.paint(window, 0.96 * coverage, shaded, "cloud")
