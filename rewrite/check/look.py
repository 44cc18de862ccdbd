"""One look at the same seeds before and after an edit: features, distances, shifts. What is seen of more seeds adds up.

Images are made in parcels that fit into memory, and are not kept. Batches are seen side by side, one on each core.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor, nn

import edits
from edits.finite import finite
from rewrite.check.anchor import jpeg
from rewrite.check.before import Before, Remembered, forgetful
from rewrite.check.place import Place, composites
from rewrite.concepts import Segmenter, labels
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Noise
from rewrite.perception import Extractor, Features, Identity, Perceptual
from rewrite.perception.images import bicubic
from rewrite.progress import Progress, quiet
from rewrite.threads import side_by_side

PARCEL = 2**26
"""Numbers of the images that are held at once."""
BATCH, PIXELS = 32, 2**20
"""Images that are made at once at most, and their pixels: large ones are no faster together."""
SIDE = 256
"""Larger images are brought to this side before anything is done to them, or seen of them."""
LEVELS = 127.5
"""Grey levels a unit of [-1, 1]."""
ONE_AT_A_TIME = Lock()
"""What finds classes may be anybody's, and need not bear two calls at once."""

T = TypeVar("T")
Applied = Sequence[tuple[edits.Edit, float | None]]


@dataclass(frozen=True)
class View:
    """What is looked with, and how images are made."""

    eye: Extractor
    distance: Perceptual
    place: Place | None = None
    segmenter: Segmenter | None = None
    truncation: float = 1.0
    noise: Noise = "const"

    def side(self, generator: Generator) -> int:
        """Of the images as they are looked at, in px.

        What JPEG does to an image of 1024 px, which nobody sees, is no unit of what is seen at 64. An eye that sees
        more than SIDE by itself is shown them as they are, as the published distances are.
        """
        own = self.eye.identity.resolution or 0
        return generator.resolution if own > SIDE else min(generator.resolution, SIDE)

    def distance_identity(self, generator: Generator) -> Identity:
        """Of the distance as it is used here: on large images it sees them smaller."""
        if generator.resolution <= SIDE:
            return self.distance.identity
        return replace(self.distance.identity, resolution=SIDE, interpolation="bicubic, antialiased")

    def alone(self, generator: Generator) -> bool:
        """Whether batches are seen one after the other: a device does so, and a network that is not ours might have to.

        A module that is wrapped, or a function that sees, may keep something between its calls.
        """
        ours = generator.network is None and isinstance(self.eye.network, nn.Module)
        return not ours or generator.device.type != "cpu"

    @property
    def ways(self) -> Hashable:
        """All that decides what is seen of an image of the base."""
        return self.eye.identity, self.distance.identity, _Itself(self.segmenter), self.truncation, self.noise


@dataclass(frozen=True, eq=False)
class _Itself:
    """A segmenter as no other is it: any callable may be one, hashable or not."""

    segmenter: Segmenter | None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.segmenter is other.segmenter

    def __hash__(self) -> int:
        return id(self.segmenter)


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen, a row a seed."""

    seeds: tuple[int, ...]
    features: Mapping[str, Features]
    """Of base, edited and anchor; with a place, of `outside` and `anchor outside`: these with the base's inside."""
    each: Mapping[str, Tensor]
    """Each (N,): `distance` and `anchor distance`, `change` (mean, in levels), `tone` (shift of the mean colour, in
    levels); with a place `distance inside`, `distance outside`, `anchor inside`, `anchor outside`, `change outside`."""
    areas: Mapping[str, Tensor]
    """With a segmenter, shares (N, K) of the classes in `base` and `edited`."""

    @staticmethod
    def join(parts: Sequence[Seen]) -> Seen:
        """All of it, in order."""
        first = parts[0]
        return Seen(
            tuple(seed for part in parts for seed in part.seeds),
            {name: Features.join(part.features[name] for part in parts) for name in first.features},
            {name: torch.cat([part.each[name] for part in parts]) for name in first.each},
            {name: torch.cat([part.areas[name] for part in parts]) for name in first.areas},
        )


def look(
    generator: Generator, applied: Applied, seeds: Sequence[int], view: View, *,
    remembered: Remembered | None = None, progress: Progress = quiet,
) -> Seen:  # fmt: skip
    """The seeds under no edit and under these. RewriteError if an image is not made of numbers."""
    side = view.side(generator)
    parcel = max(BATCH, PARCEL // (3 * side**2))
    remembered = remembered or forgetful(generator)
    alone = view.alone(generator)

    def before(batch: Sequence[int]) -> Before:
        see = partial(_before, generator, batch, view, keeps=remembered.keeps(side))
        return remembered.once("before", batch, view.ways, see, side)

    parts: list[Seen] = []
    for start in range(0, len(seeds), parcel):
        told = partial(_told, progress, start, len(seeds))
        batches = _batches(seeds[start : start + parcel], generator.resolution)
        base = told("looking at seeds before", batches, side_by_side(before, batches, alone=alone))
        with edits.applied(generator.module, *applied):
            after = side_by_side(partial(images, generator, view=view), batches, alone=alone)
            edited = told("looking at seeds after", batches, after)
        trios = list(zip(batches, base, edited, strict=True))
        parts += told("comparing", batches, side_by_side(lambda trio: _compared(*trio, view), trios, alone=alone))
    return Seen.join(parts)


def features(generator: Generator, seeds: Sequence[int], view: View, *, progress: Progress = quiet) -> Features:
    """Of the base alone."""

    def of(batch: Sequence[int]) -> Features:
        return view.eye.of([images(generator, batch, view)])

    batches = _batches(seeds, generator.resolution)
    seen = side_by_side(of, batches, alone=view.alone(generator))
    return Features.join(_told(progress, 0, len(seeds), "looking at held-out seeds", batches, seen))


def _told(
    progress: Progress, done: int, total: int, what: str, batches: Sequence[Sequence[int]], results: Iterable[T]
) -> list[T]:
    """The results, a batch each, as they come."""
    found = []
    progress(what, done, total)
    for batch, result in zip(batches, results, strict=True):
        found.append(result)
        done += len(batch)
        progress(what, done, total)
    return found


def images(generator: Generator, seeds: Sequence[int], view: View) -> Tensor:
    """Images (N, 3, side, side) in [-1, 1] of the weights as they are, of each class of a conditional model in turn."""
    label = [seed % generator.classes for seed in seeds] if generator.classes else None
    with torch.no_grad():
        ws = generator.styles(generator.latents(seeds), truncation=view.truncation, label=label)
        made = generator.synthesize(ws=ws, noise=view.noise)
    if not finite(made):
        raise RewriteError(
            f"an image of the seeds {seeds[0]} to {seeds[-1]} holds NaN or infinity; lower the strength of the edits"
        )
    side = view.side(generator)
    return bicubic(made, side) if side < generator.resolution else made


def distances(view: View, one: Tensor, *others: Tensor) -> list[Tensor]:
    """Perceptual distances (N,) from the one to each of the others, of large images at SIDE."""
    shown = [bicubic(images, SIDE) if images.shape[-1] > SIDE else images for images in (one, *others)]
    with torch.no_grad():
        return [found.cpu() for found in view.distance.several(*shown)]


def _batches(seeds: Sequence[int], resolution: int) -> list[Sequence[int]]:
    count = min(BATCH, max(1, PIXELS // resolution**2))
    return [seeds[start : start + count] for start in range(0, len(seeds), count)]


def _before(generator: Generator, seeds: Sequence[int], view: View, *, keeps: bool) -> Before:
    base = images(generator, seeds, view)
    anchor = jpeg(base)
    seen = {name: view.eye.of([of]) for name, of in (("base", base), ("anchor", anchor))}
    return Before(base, anchor, seen, distances(view, base, anchor)[0] if keeps else None, _areas(view, base))


def _compared(seeds: Sequence[int], before: Before, edited: Tensor, view: View) -> Seen:
    base, anchor = before.images, before.anchor
    shown, pairs = {"edited": edited}, {"distance": edited}
    each = {
        "change": (edited - base).abs().mean((1, 2, 3)).cpu() * LEVELS,
        "tone": (edited.mean((2, 3)) - base.mean((2, 3))).abs().mean(1).cpu() * LEVELS,
    }
    if view.place:
        with ONE_AT_A_TIME:
            masks = view.place.masks(base, edited)
        inner, outer = composites(base, edited, masks)
        inner_anchor, outer_anchor = composites(base, anchor, masks)
        shown |= {"outside": outer, "anchor outside": outer_anchor}
        pairs |= {
            "distance inside": inner, "distance outside": outer,
            "anchor inside": inner_anchor, "anchor outside": outer_anchor,
        }  # fmt: skip
        weight = (~masks).float()
        change = (edited - base).abs().mean(1) * weight
        each["change outside"] = (change.sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)).cpu() * LEVELS
    if before.distances is None:
        pairs["anchor distance"] = anchor
    else:
        each["anchor distance"] = before.distances
    each |= dict(zip(pairs, distances(view, base, *pairs.values()), strict=True))
    found = dict(before.features) | {name: view.eye.of([of]) for name, of in shown.items()}
    after = _areas(view, edited)
    areas = {} if before.areas is None or after is None else {"base": before.areas, "edited": after}
    return Seen(tuple(seeds), found, each, areas)


def _areas(view: View, shown: Tensor) -> Tensor | None:
    """Shares (N, K) of the classes."""
    if view.segmenter is None:
        return None
    with ONE_AT_A_TIME:
        size, maps = len(view.segmenter.classes), labels(view.segmenter, shown).cpu()
    return torch.stack([torch.bincount(map.flatten(), minlength=size) / map.numel() for map in maps])
