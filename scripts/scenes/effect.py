"""What an edit did to the classes of the scenes, by a segmenter that knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

import edits
from rewrite.concepts import Segmenter, labels
from rewrite.generator import Generator

MANY = 15
"""Pixels from which on an image is said to show a class."""
MARGIN = 4
"""Pixels around a changed object that are still its place."""
BATCH = 50


@dataclass(frozen=True)
class Effect:
    """Of one edit, on images of seeds that no recipe names. Shares from 0 to 1, changes in grey levels, 0 to 255."""

    source: str
    target: str
    images: int
    shown_before: int
    """Images that show the source class before the edit,"""
    shown_after: int
    """and how many of these still show it after."""
    turned_images: int
    """How many of these show the target class after the edit, and did not before."""
    gone: float
    """Share of the source class's pixels that are of another class after the edit,"""
    turned: float
    """and of the target class."""
    target_before: float
    """Share of all images that show the target class before the edit,"""
    target_after: float
    """and after."""
    inside: float
    """Mean change within MARGIN pixels of the source class before the edit, or of the target class after it;"""
    outside: float
    """and in all other places."""


@dataclass(frozen=True)
class Before:
    """A batch of images of the base: latents, images (N, 3, H, W), label maps (N, H, W)."""

    z: Tensor
    images: Tensor
    maps: Tensor


def effect(
    generator: Generator, segment: Segmenter, edit: edits.Edit, source: str, target: str, seeds: Iterable[int]
) -> Effect:
    """Base and edited images of the same seeds, compared class by class."""
    return compared(generator, segment, edit, source, target, before(generator, segment, seeds))


def before(generator: Generator, segment: Segmenter, seeds: Iterable[int]) -> Iterator[Before]:
    """The base's images of these seeds, which many edits may be compared with."""
    seeds = list(seeds)
    for first in range(0, len(seeds), BATCH):
        z = generator.latents(seeds[first : first + BATCH])
        with torch.no_grad():
            images = generator.synthesize(z)
        yield Before(z, images, labels(segment, images))


def compared(
    generator: Generator, segment: Segmenter, edit: edits.Edit, source: str, target: str, base: Iterable[Before]
) -> Effect:
    """What the edit does to these images of the base."""
    classes = list(segment.classes)
    old, new = classes.index(source), classes.index(target)
    total: Counter[str] = Counter()
    for batch in base:
        with torch.no_grad(), edits.applied(generator.module, (edit, 1.0)):
            after = generator.synthesize(batch.z)
        was, now = batch.maps, labels(segment, after)
        had, has = _shows(was, old), _shows(now, old)
        place = _around((was == old) | (now == new))
        change = (after - batch.images).abs().mean(1) * 127.5
        found = {
            "images": torch.ones(len(was)),
            "had": had, "kept": had & has, "gained": had & _shows(now, new) & ~_shows(was, new),
            "target before": _shows(was, new), "target after": _shows(now, new),
            "pixels": was == old, "gone": (was == old) & (now != old), "turned": (was == old) & (now == new),
            "inside": place, "change inside": change * place, "outside": ~place, "change outside": change * ~place,
        }  # fmt: skip
        total.update({name: float(of.double().sum()) for name, of in found.items()})
    return Effect(
        source=source,
        target=target,
        images=int(total["images"]),
        shown_before=int(total["had"]),
        shown_after=int(total["kept"]),
        turned_images=int(total["gained"]),
        gone=total["gone"] / max(total["pixels"], 1),
        turned=total["turned"] / max(total["pixels"], 1),
        target_before=total["target before"] / max(total["images"], 1),
        target_after=total["target after"] / max(total["images"], 1),
        inside=total["change inside"] / max(total["inside"], 1),
        outside=total["change outside"] / max(total["outside"], 1),
    )


def _shows(maps: Tensor, label: int) -> Tensor:
    return (maps == label).sum((1, 2)) >= MANY


def _around(mask: Tensor) -> Tensor:
    grown = F.max_pool2d(mask[:, None].float(), 2 * MARGIN + 1, stride=1, padding=MARGIN)
    return grown[:, 0] > 0
