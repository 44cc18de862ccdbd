"""Where change counts: a place on images, the same on all of them or a concept's on each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from edits.canonical import Json
from rewrite import regions
from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.concepts.interface import class_names
from rewrite.errors import RewriteError, nearest


@dataclass(frozen=True)
class Where:
    """A name, and what finds it: images (N, 3, H, W) to coverage (N, 1, H, W) in [0, 1]."""

    name: str
    coverage: Callable[[Tensor], Tensor]
    recipe: Json = None
    """What a recipe says of it: the box, the mask as a data URL, or nothing where it cannot be said."""
    seed: int | None = None
    """The one image that it was painted on; None where it is a place on every image."""

    def seeds(self, count: int) -> tuple[int, ...]:
        """The images that a method looks at: those from 0 up, or the one that it was painted on."""
        return tuple(range(count)) if self.seed is None else (self.seed,)

    def on(self, seed: int) -> Where:
        """The same place, on the image of one seed alone."""
        return replace(self, name=f"{self.name} of seed {seed}", seed=seed)

    def __call__(self, images: Tensor) -> Tensor:
        return self.coverage(images)


def box(corners: Sequence[float]) -> Where:
    """The box [x0, y0, x1, y1], fractions of the image."""
    if len(corners) != 4 or not (0 <= corners[0] < corners[2] <= 1 and 0 <= corners[1] < corners[3] <= 1):
        raise RewriteError(f"box {list(corners)} is none; expected x0,y0,x1,y1 in fractions, x0 < x1 and y0 < y1")
    name = "box " + ",".join(f"{corner:g}" for corner in corners)
    return Where(name, lambda images: _same(regions.box_coverage(corners, _size(images)), images), list(corners))


def mask(url: str) -> Where:
    """What a PNG mask, as `regions.inline` gives it, covers."""
    name = f"mask {hashlib.sha256(regions.decode(url)).hexdigest()[:12]}"
    return Where(name, lambda images: _same(regions.mask_coverage(url, _size(images)), images), url)


def concept(segmenter: Segmenter, name: str) -> Where:
    """The pixels of a class; RewriteError, naming the nearest, if the segmenter has none of that name."""
    classes = class_names(segmenter)
    if name not in classes:
        raise RewriteError(f"the segmenter knows no {name!r}; nearest: {nearest(name, classes)}")
    index = classes.index(name)
    return Where(f"concept {name}", lambda images: (label_maps(segmenter, images) == index)[:, None].to(images))


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[2], images.shape[3]


def _same(coverage: Tensor, images: Tensor) -> Tensor:
    return coverage.to(images).expand(len(images), 1, -1, -1)
