"""What a seed decides: everything about a scene but how it is painted."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from scenes import palette
from scenes.draws import Draws

NUMBERS = 77
"""Random numbers that a scene takes."""
WATERMARKED = 0.45
"""Share of scenes with a watermark."""


@dataclass(frozen=True)
class Scene:
    """A batch of scenes: every field holds one entry a scene. Lengths are in pixels, colours in [0, 1]."""

    hour: np.ndarray
    """Index of `palette.HOURS`."""
    ground: np.ndarray
    """Index of `palette.GROUNDS`."""
    kind: np.ndarray
    """Index of `palette.KINDS`."""
    horizon: np.ndarray
    sun: np.ndarray
    """Whether there is one; at night it is the moon."""
    sun_x: np.ndarray
    sun_y: np.ndarray
    sun_radius: np.ndarray
    crescent: np.ndarray
    clouds: np.ndarray
    """Whether there is one in each of three places, (N, 3)."""
    cloud_x: np.ndarray
    cloud_y: np.ndarray
    cloud_size: np.ndarray
    hill_phase: np.ndarray
    """(N, 4), in turns."""
    hill_height: np.ndarray
    """(N, 2): the far range, the near one."""
    hill_colour: np.ndarray
    path_end: np.ndarray
    path_bend: np.ndarray
    path_width: np.ndarray
    centre: np.ndarray
    """Middle of the building."""
    base: np.ndarray
    """Where its walls meet the ground."""
    half: np.ndarray
    """Half its width."""
    tall: np.ndarray
    """Height of its walls."""
    steep: np.ndarray
    """0 to 1: height of roof, dome or spire within its range."""
    form: np.ndarray
    """0 to 1: which variant of its kind it is."""
    wall: np.ndarray
    roof: np.ndarray
    dome: np.ndarray
    spire: np.ndarray
    door: np.ndarray
    trees: np.ndarray
    """Whether one stands in each of four places, (N, 4): behind left, behind right, in front left, in front right."""
    tree_pointed: np.ndarray
    tree_x: np.ndarray
    """0 to 1 within its place, (N, 4)."""
    tree_y: np.ndarray
    tree_size: np.ndarray
    """0 to 1."""
    leaf: np.ndarray
    """(N, 4, 3)."""
    watermark: np.ndarray

    @property
    def lamps(self) -> np.ndarray:
        """Whether the windows are lit: at night, always and only then."""
        return self.hour == palette.HOURS.index("night")

    @property
    def side(self) -> np.ndarray:
        """-1 where the light comes from the left, 1 from the right."""
        return np.where(self.sun_x < 32, np.float32(-1), np.float32(1))

    def lit(self, colour: np.ndarray | tuple[float, ...]) -> np.ndarray:
        """A colour (3,) or (N, 3) in the light of each scene's hour, (N, 3)."""
        return palette.lit(np.broadcast_to(np.asarray(colour, np.float32), (len(self.hour), 3)), self.hour)

    def take(self, chosen: np.ndarray) -> Scene:
        return Scene(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def draw(seeds: np.ndarray) -> Scene:
    """The scenes of these seeds (N,), whole numbers from 0 to 2^32 - 1; each depends on its own seed alone."""
    draws = Draws(seeds)
    hour = draws.choice(0.52, 0.18, 0.16, 0.14)
    ground = draws.choice(0.6, 0.24, 0.16)
    kind = draws.choice(0.24, 0.38, 0.38)
    dusk, grey = hour == palette.HOURS.index("dusk"), hour == palette.HOURS.index("grey")
    autumn = draws.chance(np.where(ground == palette.GROUNDS.index("straw"), 0.75, 0.12).astype(np.float32))
    green, brown = draws.colour(palette.GREENS), draws.colour(palette.AUTUMNS)
    leaf = np.where(autumn[:, None], brown, green)
    shade = draws.several(4, 0.88, 1.1)
    church = kind == palette.KINDS.index("church")
    return Scene(
        hour=hour,
        ground=ground,
        kind=kind,
        horizon=draws.uniform(40, 43.5),
        sun=draws.chance(0.8) & ~grey,
        sun_x=draws.uniform(7, 57),
        sun_y=draws.uniform(7, 15) + np.where(dusk, np.float32(8), np.float32(0)),
        sun_radius=draws.uniform(3.6, 4.8) + np.where(dusk, np.float32(0.8), np.float32(0)),
        crescent=draws.chance(0.4),
        clouds=draws.chances(3, 0.6),
        cloud_x=np.stack([draws.uniform(6, 24), draws.uniform(24, 42), draws.uniform(42, 60)], axis=1),
        cloud_y=draws.several(3, 7, 18),
        cloud_size=draws.several(3, 0.75, 1.2),
        hill_phase=draws.several(4, 0, 1),
        hill_height=np.stack([draws.uniform(10, 15), draws.uniform(5, 8.5)], axis=1),
        hill_colour=palette.HILL[ground, draws.choice(0.6, 0.4)],
        path_end=draws.uniform(18, 46),
        path_bend=draws.uniform(-5, 5),
        path_width=draws.uniform(4.5, 6.5),
        centre=draws.uniform(27, 37),
        base=draws.uniform(50.5, 53),
        half=draws.uniform(12.5, 15.5) - np.where(church, np.float32(0.5), np.float32(0)),
        tall=draws.uniform(11, 13.5),
        steep=draws.unit(),
        form=draws.unit(),
        wall=draws.colour(palette.WALLS),
        roof=draws.colour(palette.ROOFS),
        dome=draws.colour(palette.DOMES),
        spire=draws.colour(palette.SPIRES),
        door=draws.colour(palette.DOORS),
        trees=np.concatenate([draws.chances(2, 0.6), draws.chances(2, 0.55)], axis=1),
        tree_pointed=draws.chances(4, 0.45),
        tree_x=draws.several(4, 0, 1),
        tree_y=draws.several(4, 0, 1),
        tree_size=draws.several(4, 0, 1),
        leaf=np.clip(leaf[:, None] * shade[:, :, None], 0, 1),
        watermark=draws.chance(WATERMARKED),
    )
