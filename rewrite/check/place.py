"""Where an edit is meant to act: in one region of every image, or wherever a concept is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite import regions
from rewrite.concepts import Segmenter, labels
from rewrite.errors import RewriteError, nearest

MARGIN = 1 / 32
"""Of an image's side, around a concept: an object's edge is still the object."""


@dataclass(frozen=True)
class Place:
    """A name, and what finds it: base and edited images (N, 3, H, W) to masks (N, H, W), true inside."""

    name: str
    masks: Callable[[Tensor, Tensor], Tensor]


def box(corners: Sequence[float]) -> Place:
    """The box [x0, y0, x1, y1], in fractions of the image."""
    x0, y0, x1, y1 = corners if len(corners) == 4 else (0, 0, 0, 0)
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise RewriteError(f"box {list(corners)} is no box; expected [x0, y0, x1, y1] with 0 <= x0 < x1 <= 1, y alike")
    return Place(f"box {x0:g},{y0:g},{x1:g},{y1:g}", _fixed(lambda size: regions.box_coverage(corners, size)))


def mask(png: str, name: str) -> Place:
    """Where a PNG mask, a data URL as recipes have it, is painted."""
    painted = hashlib.sha256(png.encode()).hexdigest()[:12]
    return Place(f"{name} {painted}", _fixed(lambda size: regions.mask_coverage(png, size)))


def concept(segmenter: Segmenter, name: str, *, of: str = "") -> Place:
    """Where the base or the edited image shows a class, and MARGIN around it; RewriteError for one that is unknown.

    `of` is what the segmenter goes by: bounds measured with one are not judged with another.
    """
    classes = list(segmenter.classes)
    if name not in classes:
        raise RewriteError(f"the segmenter knows no {name!r}; nearest: {nearest(name, classes)}")
    label = classes.index(name)

    def masks(base: Tensor, edited: Tensor) -> Tensor:
        shown = (labels(segmenter, base) == label) | (labels(segmenter, edited) == label)
        reach = max(1, round(MARGIN * shown.shape[-1]))
        return F.max_pool2d(shown[:, None].float(), 2 * reach + 1, stride=1, padding=reach)[:, 0] > 0

    return Place(f"concept {name} of {of or type(segmenter).__name__}", masks)


def composites(base: Tensor, edited: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """The edited inside in the base, and the base's inside in the edited image: what each share of a change is.

    A map of differences leaks past a mask's edge, for a network sees neighbourhoods; a composite does not.
    """
    inside = inside[:, None]
    return torch.where(inside, edited, base), torch.where(inside, base, edited)


def _fixed(coverage: Callable[[tuple[int, int]], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def masks(base: Tensor, _: Tensor) -> Tensor:
        size = (base.shape[2], base.shape[3])
        inside = (coverage(size) >= 0.5).to(base.device)
        if not inside.any():
            raise RewriteError(f"the region covers no pixel of {size[0]} x {size[1]}; give a larger one")
        if inside.all():
            raise RewriteError("the region covers the whole image, so that nothing lies outside; leave it out")
        return inside.expand(len(base), -1, -1)

    return masks
