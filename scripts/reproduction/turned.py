"""What became of a class of the scenes, where it should have changed and where it should not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from scenes.effect import MANY, MARGIN
from torch import Tensor
from torch.nn import functional as F

import edits
from reproduction import draw
from reproduction.harm import ANCHOR
from reproduction.sheet import between, short
from rewrite.check.gate import HELD_OUT
from rewrite.check.look import LEVELS, View, distances
from rewrite.check.place import composites
from rewrite.concepts import Segmenter, labels
from rewrite.generator import Generator
from rewrite.perception import Features, Figure, paired_kid

BATCH = 50


@dataclass(frozen=True)
class Turned:
    """What one method did. Shares from 0 to 1; the last four are of what should have stayed."""

    name: str
    seconds: float
    """That the method took, once its request was measured."""
    shown_before: int
    """Images that show the source class before,"""
    shown_after: int
    """and how many of these still do."""
    gone: float
    """Share of its pixels that are of another class,"""
    turned: float
    """and of the target class."""
    outside: float
    """Mean change of a pixel away from both classes, in levels of 255."""
    distance_outside: float
    """Mean perceptual distance of base and composites in which only that other part is changed."""
    harm: float
    """Paired kernel distance of whole images, in units of JPEG-95."""
    harm_interval: tuple[float, float]

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def cells(self) -> list[str]:
        return [
            self.name, short(self.seconds), f"{self.shown_after} of {self.shown_before}", f"{100 * self.gone:.1f}",
            f"{100 * self.turned:.1f}", short(self.outside), short(self.distance_outside), short(self.harm),
            between(*self.harm_interval),
        ]  # fmt: skip


COLUMNS = (
    "method", "seconds", "still shown in", "gone %", "turned %", "change outside", "distance outside", "harm", "95 %",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """Held-out images of the base, looked at once, on which methods are compared."""

    generator: Generator
    view: View
    segment: Segmenter
    source: str
    target: str
    seeds: range
    images: Tensor
    maps: Tensor
    """Labels (N, H, W)."""
    held: Features
    base: Features
    anchor: Figure

    @staticmethod
    def of(
        generator: Generator, view: View, segment: Segmenter, source: str, target: str, samples: int, first: int = 0
    ) -> Stage:
        seeds = range(first, first + samples)
        images = draw.images(generator, seeds)
        held = view.eye.of(draw.images(generator, range(HELD_OUT, HELD_OUT + samples)).split(BATCH))
        base = view.eye.of(images.split(BATCH)).standardised(held, "held-out base")
        pictures = view.eye.of(ANCHOR.images(generator, seeds, images).split(BATCH))
        anchor = paired_kid(base, pictures.standardised(held, "held-out base"))
        return Stage(
            generator, view, segment, source, target, seeds, images, labels(segment, images), held, base, anchor
        )

    def edited(self, name: str, edit: edits.Edit, seconds: float) -> Turned:
        """What an edit does to the images."""
        return self.changed(name, draw.images(self.generator, self.seeds, edit), seconds)

    def blended(self, name: str, change: Callable[[Tensor, Tensor], Tensor], seconds: float) -> Turned:
        """What a change of images (N, 3, H, W) that knows their label maps does."""
        return self.changed(name, change(self.images, self.maps), seconds)

    def changed(self, name: str, after: Tensor, seconds: float) -> Turned:
        """Base images beside what became of them."""
        classes = list(self.segment.classes)
        old, new = classes.index(self.source), classes.index(self.target)
        total: Counter[str] = Counter()
        for images, was, made in zip(self.images.split(BATCH), self.maps.split(BATCH), after.split(BATCH), strict=True):
            now = labels(self.segment, made)
            place = _around((was == old) | (now == new))
            _, outer = composites(images, made, place)
            shift, had = (made - images).abs().mean(1) * LEVELS, _shows(was, old)
            found = {
                "had": had, "kept": had & _shows(now, old), "pixels": was == old,
                "gone": (was == old) & (now != old), "turned": (was == old) & (now == new),
                "outside": ~place, "change": shift * ~place, "distance": distances(self.view, images, outer)[0],
            }  # fmt: skip
            total.update({what: float(of.double().sum()) for what, of in found.items()})
        seen = self.view.eye.of(after.split(BATCH)).standardised(self.held, "held-out base")
        harm = paired_kid(self.base, seen).over(self.anchor)
        return Turned(
            name=name,
            seconds=seconds,
            shown_before=int(total["had"]),
            shown_after=int(total["kept"]),
            gone=total["gone"] / max(total["pixels"], 1),
            turned=total["turned"] / max(total["pixels"], 1),
            outside=total["change"] / max(total["outside"], 1),
            distance_outside=total["distance"] / len(after),
            harm=harm.value,
            harm_interval=harm.interval or (harm.value, harm.value),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """The conditions."""
        return {
            "model": self.generator.name or self.generator.architecture,
            "source": self.source,
            "target": self.target,
            "samples": len(self.seeds),
            "first seed": self.seeds[0],
            "eye": str(self.base.identity),
            "distance": str(self.view.distance_identity(self.generator)),
        }


def _shows(maps: Tensor, label: int) -> Tensor:
    return (maps == label).sum((1, 2)) >= MANY


def _around(mask: Tensor) -> Tensor:
    return F.max_pool2d(mask[:, None].float(), 2 * MARGIN + 1, stride=1, padding=MARGIN)[:, 0] > 0


def nothing(images: Tensor, _maps: Tensor) -> Tensor:
    """The images as they are."""
    return torch.clone(images)
