"""A house, a church with a spire, a domed hall: walls, roof, windows, door."""

from __future__ import annotations

import numpy as np

from scenes.canvas import Canvas
from scenes.geometry import Window, box, ellipse, spread, trapezoid
from scenes.palette import FINIAL, FRAME, GROUNDS, KINDS, LAMP, PANE, SNOW, mixed
from scenes.scene import Scene

PLOT = Window(top=6, bottom=54, left=6, right=58)
"""Where a building may stand."""
LOW = Window(top=36, bottom=54, left=6, right=58)
"""Where its walls, door and lower windows are."""
ROOF = Window(top=24, bottom=45, left=6, right=58)
DOMED = Window(top=15, bottom=43, left=6, right=58)


def paint(canvas: Canvas, scene: Scene) -> None:
    for kind, name in enumerate(KINDS):
        chosen = np.flatnonzero(scene.kind == kind)
        part = canvas.take(chosen)
        BUILDERS[name](part, scene.take(chosen))
        canvas.put(chosen, part)


def _house(canvas: Canvas, scene: Scene) -> None:
    c, half, eaves = scene.centre, scene.half, scene.base - scene.tall
    ridge = eaves - 6.5 - 3 * scene.steep
    # A gable ends in a point and has a round window; a hipped roof has a ridge, and a chimney.
    gable = scene.form < 0.5
    stack = c - 0.5 * half * scene.side
    chimney = box(ROOF, stack - 1.4, np.where(gable, eaves, ridge - 2.5), stack + 1.4, eaves)
    canvas.paint(ROOF, chimney, 0.85 * scene.lit(scene.wall), "wall")
    _walls(canvas, scene, c, half, eaves, scene.base)
    roof = trapezoid(ROOF, c, ridge, eaves + 0.5, np.where(gable, 0, 0.55 * half), half + 2.2)
    canvas.paint(ROOF, roof, _shaded(scene, _snowed(scene, scene.roof, 0.75), c, half), "roof")
    attic = ellipse(ROOF, c, eaves - 2.9, *[np.full_like(c, 2.0)] * 2) * spread(gable)
    canvas.paint(ROOF, attic, _glass(scene), "window")
    for offset in (-0.62, 0.62):
        _window(canvas, LOW, scene, c + offset * half, scene.base - 0.45 * scene.tall, 2.4, arched=False)
    _door(canvas, scene, c, 2.5, 7.5, arched=False)


def _church(canvas: Canvas, scene: Scene) -> None:
    half, eaves = scene.half, scene.base - scene.tall
    # The tower stands in the middle, with the door in it, or at one end.
    place = np.select([scene.form < 0.5, scene.form < 0.75], [0.0, -1.0], 1.0).astype(np.float32)
    middle = place == 0
    tower, width = scene.centre + place * (half - 4.5), np.float32(4.6)
    c, half = scene.centre, np.where(middle, half - 0.5, half - 1)
    _walls(canvas, scene, c, half, eaves, scene.base)
    nave = trapezoid(ROOF, c, eaves - 5.5, eaves + 0.5, 0.72 * half, half + 1.2)
    canvas.paint(ROOF, nave, _shaded(scene, _snowed(scene, scene.roof, 0.75), c, half), "roof")
    top = scene.base - 24 - 2 * scene.form
    tip = top - 12 - 4 * scene.steep
    _walls(canvas, scene, tower, np.full_like(c, width), top, scene.base, window=PLOT)
    spire = trapezoid(PLOT, tower, tip, top + 0.5, np.full_like(c, 0.2), np.full_like(c, width + 1.1))
    canvas.paint(PLOT, spire, _shaded(scene, _snowed(scene, scene.spire, 0.4), tower, np.full_like(c, 5)), "spire")
    _window(canvas, PLOT, scene, tower, top + 5.5, 1.8, arched=True)
    for offset in (-0.62, 0.62):
        # A tower at one end has the window that it would hide.
        beside = np.where(place * offset > 0, tower, c + offset * half)
        x = np.where(middle, c + 1.12 * offset * half, beside)
        _window(canvas, LOW, scene, x, scene.base - 0.5 * scene.tall, 1.8, arched=True)
    _door(canvas, scene, c, 2.3, 7.5, arched=True)


def _hall(canvas: Canvas, scene: Scene) -> None:
    c, half = scene.centre, scene.half
    eaves = scene.base - scene.tall
    drum, radius = eaves - 5.0, 7.6 + 1.4 * scene.form
    _walls(canvas, scene, c, radius - 1, drum, eaves, window=DOMED)
    twin = np.where(scene.form > 0.5, np.float32(3.4), np.float32(0.01))
    for offset in (-1.0, 1.0):
        _dome(canvas, scene, c + offset * (half - 2.6), eaves - 1.5, twin, twin)
    _dome(canvas, scene, c, drum + 0.5, radius, radius * (0.95 + 0.3 * scene.steep))
    _walls(canvas, scene, c, half, eaves, scene.base)
    cornice = trapezoid(ROOF, c, eaves - 2.2, eaves + 0.8, half - 0.4, half + 1.6)
    canvas.paint(ROOF, cornice, _shaded(scene, _snowed(scene, scene.roof, 0.75), c, half), "roof")
    for offset in (-0.74, -0.38, 0.38, 0.74):
        _window(canvas, LOW, scene, c + offset * half, scene.base - 0.47 * scene.tall, 1.6, arched=True)
    _door(canvas, scene, c, 2.6, 8.0, arched=True)


def _dome(canvas: Canvas, scene: Scene, x: np.ndarray, foot: np.ndarray, across: np.ndarray, tall: np.ndarray) -> None:
    round_ = ellipse(DOMED, x, foot, across, tall) * box(DOMED, x - 20, foot - 20, x + 20, foot)
    knob = box(DOMED, x - 0.5, foot - 1.32 * tall, x + 0.5, foot - 0.9 * tall)
    canvas.paint(DOMED, knob, scene.lit(FINIAL), "dome")
    canvas.paint(DOMED, round_, _shaded(scene, scene.dome, x, across, 0.34), "dome")
    shine = ellipse(DOMED, x + 0.32 * across * scene.side, foot - 0.5 * tall, 0.3 * across, 0.32 * tall)
    bright = mixed(scene.lit(scene.dome), scene.lit(SNOW), 0.55)
    canvas.paint(DOMED, 0.7 * shine * round_, bright)


def _walls(
    canvas: Canvas, scene: Scene, x: np.ndarray, half: np.ndarray, top: np.ndarray, foot: np.ndarray,
    *, window: Window = LOW,
) -> None:  # fmt: skip
    canvas.paint(window, box(window, x - half, top, x + half, foot), _shaded(scene, scene.wall, x, half, 0.12), "wall")


def _window(
    canvas: Canvas, window: Window, scene: Scene, x: np.ndarray, y: np.ndarray, half: float, *, arched: bool
) -> None:
    pane = _opening(window, x, y - 1.35 * half, y + 1.6 * half, half, arched)
    frame = _opening(window, x, y - 1.35 * half - 0.6, y + 1.6 * half + 0.5, half + 0.6, arched)
    canvas.paint(window, 0.6 * frame, scene.lit(FRAME))
    canvas.paint(window, pane, _glass(scene), "window")


def _door(canvas: Canvas, scene: Scene, x: np.ndarray, half: float, tall: float, *, arched: bool) -> None:
    frame = _opening(LOW, x, scene.base - tall - 0.6, scene.base, half + 0.6, arched)
    canvas.paint(LOW, 0.6 * frame, scene.lit(FRAME))
    canvas.paint(LOW, _opening(LOW, x, scene.base - tall, scene.base, half, arched), scene.lit(scene.door), "door")


def _opening(
    window: Window, x: np.ndarray, top: np.ndarray, bottom: np.ndarray, half: float, arched: bool
) -> np.ndarray:
    if not arched:
        return box(window, x - half, top, x + half, bottom)
    radius = np.full_like(x, half)
    return np.maximum(
        box(window, x - half, top + half, x + half, bottom), ellipse(window, x, top + half, radius, radius)
    )


def _glass(scene: Scene) -> np.ndarray:
    """Lamplight does not depend on the hour; dark panes do."""
    return np.where(scene.lamps[:, None], np.array(LAMP, np.float32), scene.lit(PANE))


def _shaded(scene: Scene, colour: np.ndarray, x: np.ndarray, half: np.ndarray, amount: float = 0.2) -> np.ndarray:
    """A colour, lit, brighter on the side of the sun: (N, 3, 1, w) of `PLOT`."""
    across = np.clip((PLOT.x - spread(x)) / spread(half), -1, 1) * spread(scene.side)
    return np.clip(scene.lit(colour)[:, :, None, None] * (1 + amount * across)[:, None], 0, 1)


def _snowed(scene: Scene, colour: np.ndarray, share: float) -> np.ndarray:
    """A roof's colour under snow, where snow lies on the ground."""
    white = np.array(SNOW, np.float32)
    return np.where((scene.ground == GROUNDS.index("snow"))[:, None], mixed(colour, white, np.float32(share)), colour)


BUILDERS = {"house": _house, "church": _church, "hall": _hall}
