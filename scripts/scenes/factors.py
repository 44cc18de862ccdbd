"""The factors that every scene is known to have, read off its image: the hour, its trees' colour, its building's kind.

A reading is a vector, so that a change of it has a length, and one of a few words, so that a change can be counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scenes.classes import LABEL
from scenes.palette import AUTUMNS, GREENS, GREYNESS, HOURS, KINDS, LIGHT, SKY

MANY = 30
"""Pixels from which on a class is seen well enough to be read."""
FOUND = 0.2
"""Of all that lies on the walls: a dome or spire of a smaller share is none."""


@dataclass(frozen=True)
class Reading:
    """Vectors (N, d), and indices (N,) of words, -1 where the factor cannot be seen."""

    vectors: Tensor
    words: Tensor

    @property
    def seen(self) -> Tensor:
        """(N,) bool."""
        return self.words >= 0


@dataclass(frozen=True)
class Factor:
    """`read` takes images (N, 3, H, W) in [-1, 1] and label maps (N, H, W); it shows on pixels of `classes`."""

    name: str
    classes: tuple[str, ...]
    words: tuple[str, ...]
    read: Callable[[Tensor, Tensor], Reading]


def hour(images: Tensor, maps: Tensor) -> Reading:
    """The mean colour of the sky, and the hour whose sky, in the mean from top to horizon, is nearest to it."""
    colour, seen = _mean_colour(images, maps == LABEL["sky"])
    nearest = torch.cdist(colour, torch.from_numpy(SKY).mean(1)).argmin(1)
    return Reading(colour, torch.where(seen, nearest, -1))


def tree(images: Tensor, maps: Tensor) -> Reading:
    """How red the trees are beside how green, (r - g) / (r + g + b), the light of the hour taken off."""
    shown, seen = _mean_colour(images, maps == LABEL["tree"])
    at = hour(images, maps)
    under = at.words.clamp(min=0)
    plain = shown / torch.from_numpy(LIGHT)[under]
    share = torch.from_numpy(GREYNESS)[under][:, None]
    colour = ((plain - share * plain.mean(1, keepdim=True)) / (1 - share)).clamp(min=1e-3)
    redness = _redness(colour)
    words = torch.where(redness > _BETWEEN, 1, 0)
    return Reading(redness[:, None], torch.where(seen & at.seen, words, -1))


def kind(images: Tensor, maps: Tensor) -> Reading:  # noqa: ARG001
    """The shares of domes and of spires in all that lies on the walls."""
    areas = torch.stack([(maps == LABEL[name]).sum((1, 2)).float() for name in ("dome", "spire", "roof")], 1)
    total = areas.sum(1)
    shares = (areas / total.clamp(min=1)[:, None])[:, :2]
    house, church, hall = (KINDS.index(name) for name in ("house", "church", "hall"))
    taller = torch.where(shares[:, 0] > shares[:, 1], hall, church)
    words = torch.where(shares.amax(1) >= FOUND, taller, house)
    return Reading(shares, torch.where(total >= MANY, words, -1))


def _mean_colour(images: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Mean colours (N, 3) in [0, 1] of the pixels (N, H, W), and whether there are enough of them."""
    count = where.sum((1, 2))
    colour = (((images + 1) / 2) * where[:, None]).sum((2, 3)) / count.clamp(min=1)[:, None]
    return colour, count >= MANY


def _redness(colour: Tensor) -> Tensor:
    return (colour[:, 0] - colour[:, 1]) / colour.sum(1)


_BETWEEN = float((_redness(torch.tensor(GREENS)).mean() + _redness(torch.tensor(AUTUMNS)).mean()) / 2)
"""Half-way from green to autumn."""

FACTORS = (
    Factor("hour of day", ("sky",), HOURS, hour),
    Factor("tree colour", ("tree",), ("green", "autumn"), tree),
    Factor("building kind", ("dome", "spire", "roof", "wall"), KINDS, kind),
)
