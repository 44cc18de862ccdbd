"""A change that is perfectly local: what composites say of the rest of the image, and what a map's mean says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import edits
from reproduction import draw
from reproduction.sheet import short
from rewrite.check import box
from rewrite.check.gate import HELD_OUT
from rewrite.check.look import LEVELS, View, distances
from rewrite.check.place import composites
from rewrite.generator import Generator
from rewrite.perception import paired_kid

SQUARE = (0.25, 0.25, 0.75, 0.75)
GUARD = 1 / 16
"""Width of the guard band that some leave around a mask, of the image's side."""
BATCH = 50


@dataclass(frozen=True)
class Locality:
    """What one kind of images says happened outside a square. Perceptual distances, but for the last two."""

    name: str
    outside: float
    """Of composites: the base's inside in the edited image, beside the base."""
    inside: float
    """Of the mirror: the edited inside in the base."""
    map_outside: float
    """The published practice: the mean of the map outside the mask,"""
    map_inside: float
    """and inside;"""
    map_guarded: float
    """and outside of a guard band."""
    kernel_outside: float
    """Paired kernel distance of the base and the composites whose outside is edited."""
    change_outside: float
    """Mean change of a pixel, in levels."""

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def cells(self) -> list[str]:
        leaks = (f"{100 * part / self.map_inside:.0f}" for part in (self.map_outside, self.map_guarded))
        figures = (self.outside, self.inside, self.kernel_outside, self.change_outside, self.map_outside)
        return [self.name, *map(short, figures), *leaks]


COLUMNS = (
    "edit", "composite outside", "composite inside", "KD outside", "change outside", "map outside", "of inside %",
    "guarded %",
)  # fmt: skip


def localities(generator: Generator, view: View, edit: edits.Edit, samples: int) -> list[Locality]:
    """Of the edit pasted in the middle square, and of the edit as it is: there, much has changed outside."""
    base = draw.images(generator, range(samples))
    edited = draw.images(generator, range(samples), edit)
    held = draw.images(generator, range(HELD_OUT, HELD_OUT + samples))
    inside = box(SQUARE).masks(base, edited)
    pasted = torch.where(inside[:, None], edited, base)
    shown = {"pasted in a square": pasted, "the whole edit": edited}
    return [_locality(name, view, base, images, held, inside) for name, images in shown.items()]


def _locality(name: str, view: View, base: Tensor, edited: Tensor, held: Tensor, inside: Tensor) -> Locality:
    inner, outer = composites(base, edited, inside)
    with torch.no_grad():
        parts = zip(base.split(BATCH), edited.split(BATCH), strict=True)
        maps = torch.cat([view.distance.maps(one, other) for one, other in parts])[:, 0]
    reach = round(GUARD * base.shape[-1])
    guarded = F.max_pool2d(inside[:, None].float(), 2 * reach + 1, stride=1, padding=reach)[:, 0] > 0
    reference = view.eye.of(held.split(BATCH))
    before, after = (view.eye.of(of.split(BATCH)).standardised(reference, "held-out base") for of in (base, outer))
    return Locality(
        name=name,
        outside=_mean(view, base, outer),
        inside=_mean(view, base, inner),
        map_outside=float(maps[~inside].mean()),
        map_inside=float(maps[inside].mean()),
        map_guarded=float(maps[~guarded].mean()),
        kernel_outside=paired_kid(before, after).value,
        change_outside=float((edited - base).abs().mean(1)[~inside].mean()) * LEVELS,
    )


def _mean(view: View, one: Tensor, other: Tensor) -> float:
    parts = zip(one.split(BATCH), other.split(BATCH), strict=True)
    return float(torch.cat([distances(view, a, b)[0] for a, b in parts]).mean())
