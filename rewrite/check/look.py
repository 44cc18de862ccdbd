"""One look at the same seeds before and after an edit: features, distances, shifts. What is seen of more seeds adds up.

Images are made in parcels that fit into memory, and are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import edits
from rewrite.check.anchor import jpeg
from rewrite.check.place import Place, composites
from rewrite.concepts import Segmenter, labels
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Noise
from rewrite.perception import Extractor, Features, Identity, Perceptual
from rewrite.perception.images import bicubic
from rewrite.progress import Progress, quiet

PARCEL = 2**26
"""Numbers of the images that are held at once."""
BATCH = 16
SIDE = 256
"""Larger images are shown to a perceptual distance at this side."""
LEVELS = 127.5
"""Grey levels a unit of [-1, 1]."""

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

    def distance_identity(self, generator: Generator) -> Identity:
        """Of the distance as it is used here: on large images it sees them smaller."""
        if generator.resolution <= SIDE:
            return self.distance.identity
        return replace(self.distance.identity, resolution=SIDE, interpolation="bicubic, antialiased")


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen, a row a seed."""

    seeds: tuple[int, ...]
    features: Mapping[str, Features]
    """Of base, edited and anchor; with a place, of `outside`: the edited image with the base's inside."""
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
    generator: Generator, applied: Applied, seeds: Sequence[int], view: View, *, progress: Progress = quiet
) -> Seen:
    """The seeds under no edit and under these. RewriteError if an image is not made of numbers."""
    parcel = max(BATCH, PARCEL // (3 * generator.resolution**2))
    parts = []
    for start in range(0, len(seeds), parcel):
        some = seeds[start : start + parcel]
        base = [images(generator, batch, view) for batch in _batches(some)]
        with edits.applied(generator.module, *applied):
            edited = [images(generator, batch, view) for batch in _batches(some)]
        for batch, before, after in zip(_batches(some), base, edited, strict=True):
            progress("looking at seeds", start + batch[0] - some[0], len(seeds))
            parts.append(_compared(batch, before, after, view))
    progress("looking at seeds", len(seeds), len(seeds))
    return Seen.join(parts)


def features(generator: Generator, seeds: Sequence[int], view: View, *, progress: Progress = quiet) -> Features:
    """Of the base alone."""
    found = []
    for batch in _batches(seeds):
        progress("looking at held-out seeds", batch[0] - seeds[0], len(seeds))
        found.append(view.eye.of([images(generator, batch, view)]))
    progress("looking at held-out seeds", len(seeds), len(seeds))
    return Features.join(found)


def images(generator: Generator, seeds: Sequence[int], view: View) -> Tensor:
    """Images (N, 3, H, W) in [-1, 1] of the weights as they are, going round the classes of a conditional model."""
    label = [seed % generator.classes for seed in seeds] if generator.classes else None
    with torch.no_grad():
        ws = generator.styles(generator.latents(seeds), truncation=view.truncation, label=label)
        made = generator.synthesize(ws=ws, noise=view.noise)
    if not made.isfinite().all():
        raise RewriteError(
            f"an image of the seeds {seeds[0]} to {seeds[-1]} holds NaN or infinity; lower the strength of the edits"
        )
    return made


def distances(view: View, one: Tensor, other: Tensor) -> Tensor:
    """Perceptual distances (N,), of large images at SIDE."""
    if one.shape[-1] > SIDE:
        one, other = bicubic(one, SIDE), bicubic(other, SIDE)
    with torch.no_grad():
        return view.distance(one, other).cpu()


def _batches(seeds: Sequence[int]) -> list[Sequence[int]]:
    return [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]


def _compared(seeds: Sequence[int], base: Tensor, edited: Tensor, view: View) -> Seen:
    anchor = jpeg(base)
    shown = {"base": base, "edited": edited, "anchor": anchor}
    each = {
        "distance": distances(view, base, edited),
        "anchor distance": distances(view, base, anchor),
        "change": (edited - base).abs().mean((1, 2, 3)).cpu() * LEVELS,
        "tone": (edited.mean((2, 3)) - base.mean((2, 3))).abs().mean(1).cpu() * LEVELS,
    }
    if view.place:
        masks = view.place.masks(base, edited)
        inner, outer = composites(base, edited, masks)
        inner_anchor, outer_anchor = composites(base, anchor, masks)
        shown["outside"] = outer
        weight = (~masks).float()
        change = (edited - base).abs().mean(1) * weight
        each |= {
            "distance inside": distances(view, base, inner),
            "distance outside": distances(view, base, outer),
            "anchor inside": distances(view, base, inner_anchor),
            "anchor outside": distances(view, base, outer_anchor),
            "change outside": (change.sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)).cpu() * LEVELS,
        }
    areas = {}
    if view.segmenter:
        size = len(view.segmenter.classes)
        for name in ("base", "edited"):
            maps = labels(view.segmenter, shown[name]).cpu()
            areas[name] = torch.stack([torch.bincount(map.flatten(), minlength=size) / map.numel() for map in maps])
    return Seen(tuple(seeds), {name: view.eye.of([of]) for name, of in shown.items()}, each, areas)
