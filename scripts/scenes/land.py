"""Two ranges of hills, the ground, the path."""

from __future__ import annotations

import numpy as np

from scenes import palette
from scenes.canvas import Canvas
from scenes.geometry import SIZE, Window, ribbon, spread, under
from scenes.palette import mixed
from scenes.scene import Scene
from scenes.sky import horizon_colour

RANGES = Window(top=24, bottom=46)
FIELD = Window(top=38)
WAY = Window(top=49)
NEAR_DOOR = 2.0
"""Half the width of the path at the door."""


def paint(canvas: Canvas, scene: Scene) -> None:
    _hills(canvas, scene)
    _ground(canvas, scene)
    _path(canvas, scene)


def _hills(canvas: Canvas, scene: Scene) -> None:
    air = horizon_colour(scene)
    turn = np.float32(2 * np.pi)
    across = RANGES.x[0] / SIZE
    # Far hills are steeper and bluer: they take on the colour of the air before them.
    for distance, (waves, haze) in enumerate((((1.3, 2.3), 0.55), ((0.8, 1.7), 0.22))):
        phase = scene.hill_phase[:, 2 * distance : 2 * distance + 2]
        first, second = (np.cos(turn * (wave * across + phase[:, i, None])) for i, wave in enumerate(np.float32(waves)))
        height = scene.hill_height[:, distance, None] * (0.55 + 0.3 * first + 0.2 * second)
        colour = mixed(scene.lit(scene.hill_colour * (0.85 + 0.15 * distance)), air, np.float32(haze))
        canvas.paint(RANGES, under(RANGES, scene.horizon[:, None] - height), colour, "hill")


def _ground(canvas: Canvas, scene: Scene) -> None:
    near = np.clip((FIELD.y - spread(scene.horizon)) / (SIZE - spread(scene.horizon)), 0, 1)[:, None]
    colour = scene.lit(palette.GROUND[scene.ground])[:, :, None, None] * (1.06 - 0.26 * near)
    level = np.repeat(scene.horizon[:, None], SIZE, axis=1)
    canvas.paint(FIELD, under(FIELD, level), np.minimum(colour, 1), "ground")


def _path(canvas: Canvas, scene: Scene) -> None:
    along = np.clip((WAY.y - spread(scene.base)) / (SIZE - spread(scene.base)), 0, 1)
    start, end = spread(scene.centre), spread(scene.path_end)
    centre = start + (end - start) * along**1.5 + spread(scene.path_bend) * 4 * along * (1 - along)
    half = NEAR_DOOR + (spread(scene.path_width) - NEAR_DOOR) * along
    shown = ribbon(WAY, centre, half) * np.clip(WAY.y - spread(scene.base) + 0.5, 0, 1)
    canvas.paint(WAY, shown, scene.lit(palette.PATH[scene.ground]), "path")
