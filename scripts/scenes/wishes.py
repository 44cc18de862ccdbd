"""Rules for the scenes, proposed by a segmenter: where the objects are that a person would point at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rewrite.concepts import Segmenter, labels
from rewrite.generator import Generator

BATCH = 50
LEAST = 25
"""Pixels of an object worth pointing at."""
MARGIN = 1.0
"""Pixels around it that are pointed at with it."""


@dataclass(frozen=True)
class Wish:
    """What should become of a class: objects of another, or whatever an image without it has there."""

    source: str
    target: str
    """What the place is expected to hold afterwards."""
    replaced: bool = True
    """Whether objects of the target class are copied; else a place that lacks the source class is."""


WISHES = {
    "domes-to-spires": Wish("dome", "spire"),
    "trees-to-domes": Wish("tree", "dome"),
    "domes-to-trees": Wish("dome", "tree"),
    "no-watermarks": Wish("watermark", "ground", replaced=False),
    "spires-to-domes": Wish("spire", "dome"),
    "no-clouds": Wish("cloud", "sky", replaced=False),
    "no-trees": Wish("tree", "hill", replaced=False),
    "no-suns": Wish("sunmoon", "sky", replaced=False),
}


@dataclass(frozen=True)
class Found:
    """An object in an image: its seed, its box in pixels [x0, y0, x1, y1], its number of pixels."""

    seed: int
    box: tuple[float, float, float, float]
    pixels: int

    def within(self, side: int) -> bool:
        """Whether all of its box lies on an image of `side` pixels."""
        return min(self.box) >= 0 and max(self.box) <= side

    def region(self, side: int) -> dict[str, Any]:
        """As recipes have it."""
        x0, y0, x1, y1 = (round(min(max(edge / side, 0.0), 1.0), 4) for edge in self.box)
        return {"seed": self.seed, "box": [x0, y0, x1, y1]}


@dataclass(frozen=True)
class Frame:
    """A box that holds any of some objects, in pixels."""

    width: float
    height: float

    @classmethod
    def around(cls, found: Sequence[Found]) -> Frame:
        widths, heights = zip(*((x1 - x0, y1 - y0) for x0, y0, x1, y1 in (one.box for one in found)), strict=True)
        return cls(max(widths), max(heights))

    def of(self, one: Found) -> Found:
        """The object with this box: it stands in the middle of the lower edge."""
        x0, _, x1, y1 = one.box
        middle = (x0 + x1) / 2
        return replace(one, box=(middle - self.width / 2, y1 - self.height, middle + self.width / 2, y1))


def propose(
    generator: Generator, segment: Segmenter, wish: Wish, seeds: Iterable[int], *, pastes: int, copy: int = 0
) -> dict[str, Any]:
    """A recipe's copy, paste and context, of the clearest objects among the images of these seeds.

    `copy` says which of the objects to copy, from the most typical. It comes with what surrounds it, so that it covers
    all of an object that is larger: both are framed alike, their feet on the lower edge.
    """
    seeds, classes = list(seeds), list(segment.classes)
    maps = label_maps(generator, segment, seeds)
    side = maps.shape[2]
    sources = objects(maps, seeds, classes.index(wish.source))
    if not wish.replaced:
        without = [seed for seed, map in zip(seeds, maps, strict=True) if not (map == classes.index(wish.source)).any()]
        taken = typical(sources, 1)[0].region(side) | {"seed": without[copy]}
        chosen = [found for found in typical(sources, pastes + 1) if found.seed != taken["seed"]][:pastes]
        return {"copy": taken, "paste": [found.region(side) for found in chosen]}
    targets = objects(maps, seeds, classes.index(wish.target))
    frame = Frame.around([*typical(sources, pastes), *typical(targets, pastes)])

    def best(kind: Sequence[Found]) -> list[Found]:
        """Those first whose frame lies on the image."""
        return sorted(typical(kind, len(kind)), key=lambda one: not frame.of(one).within(side))

    taken = frame.of(best(targets)[copy]).region(side)
    chosen = [found for found in best(sources) if found.seed != taken["seed"]][:pastes]
    return {
        "copy": taken,
        "paste": [frame.of(found).region(side) for found in chosen],
        "context": [found.region(side) for found in chosen],
    }


def label_maps(generator: Generator, segment: Segmenter, seeds: Sequence[int]) -> Tensor:
    """Label maps (N, H, W) of the images of these seeds."""
    maps = []
    for first in range(0, len(seeds), BATCH):
        with torch.no_grad():
            images = generator.synthesize(generator.latents(seeds[first : first + BATCH]))
        maps.append(labels(segment, images))
    return torch.cat(maps)


def objects(maps: Tensor, seeds: Sequence[int], label: int) -> list[Found]:
    """The largest object of a class in each image that has one: what lies in one run of columns is taken for one."""
    found = []
    for seed, map in zip(seeds, maps == label, strict=True):
        columns = map.sum(0)
        best: tuple[int, int, int] = (0, 0, 0)
        start = None
        for x, count in enumerate([*columns.tolist(), 0]):
            if count and start is None:
                start = x
            if not count and start is not None:
                best = max(best, (int(columns[start:x].sum()), start, x))
                start = None
        pixels, left, right = best
        if pixels >= LEAST:
            rows = map[:, left:right].any(1).nonzero().flatten()
            box = (left - MARGIN, int(rows[0]) - MARGIN, right + MARGIN, int(rows[-1]) + 1 + MARGIN)
            found.append(Found(seed, box, pixels))
    return found


def typical(found: Sequence[Found], count: int) -> list[Found]:
    """Objects of the size that is usual for their kind, somewhat above: neither crumbs nor several taken for one."""
    sizes = sorted(one.pixels for one in found)
    usual = sizes[int(0.7 * (len(sizes) - 1))]
    return sorted(found, key=lambda one: (abs(one.pixels - usual), one.seed))[:count]
