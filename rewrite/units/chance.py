"""Could it be chance? Whole label maps are dealt out anew among the images, and the best pair of all is looked at.

A unit may meet a concept often because both like the same place in every picture. Exchanging whole label maps keeps
where units and concepts are wont to be, and breaks only that they are so in the same image. Each pair's overlap, beyond
its mean over all deals, is measured by the highest percent of its own deals, so that rare pairs, whose overlaps are a
few large ones, do not drown the others; its p is the share of deals in which any pair at all gets as far (Westfall and
Young 1993), so it holds for all units and concepts of all layers at once. Everything that a pair is measured by treats
the true deal as one of the deals, which keeps p exact. Pairs in too few of the images are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite import keep
from rewrite.progress import Progress, quiet
from rewrite.units.counting import filled, flat, place
from rewrite.units.scores import Scores

DEALS = 1_000
SEED = 0
PRESENCE = 0.05
"""A unit and a concept are judged if each is there in this share of the images, and in three of them."""
HIGHEST = 0.01
"""Share of a pair's deals by whose mean its overlaps are measured."""
ROOM = 2**24
"""Numbers in one table of all pairs of images."""


@dataclass(frozen=True)
class Chance:
    """Of all units and concepts, by layer."""

    z: dict[str, Tensor]
    """(U, C) float64: overlap beyond the mean over all deals, in standard deviations; NaN where it is not judged."""
    p: dict[str, Tensor]
    """(U, C) float64: family-wise; NaN where it is not judged."""
    images: int
    deals: int

    @property
    def least(self) -> float:
        """The smallest p there is."""
        return 1 / (self.deals + 1)


def chance(
    scores: Scores, *, deals: int = DEALS, seed: int = SEED, cache: bool = False, progress: Progress = quiet
) -> Chance:  # fmt: skip
    """How each overlap compares with those of `deals` deals of the label maps among the images kept for it.

    With `cache` it is kept, and not dealt again for the same maps.
    """
    if not cache:
        return _chance(scores, deals, seed, progress)
    maps = flat({"on": {name: layer.witnesses for name, layer in scores.layers.items()}, "labels": scores.labels})
    path = place({
        "phase": "chance", "maps": keep.digest(maps), "images": scores.images, "deals": deals, "seed": seed,
        "grids": {name: layer.grid for name, layer in scores.layers.items()},
    })  # fmt: skip
    known = keep.read(path)
    if known is not None:
        empty = {name: torch.empty(0) for name in scores.layers}
        return filled(Chance(empty, empty, 0, deals), known)
    found = _chance(scores, deals, seed, progress)
    keep.write(path, flat(found))
    return found


def _chance(scores: Scores, deals: int, seed: int, progress: Progress) -> Chance:
    images = min([scores.images, *(len(maps) for maps in scores.labels.values())])
    dealt = _dealt(images, deals, seed)
    highest = torch.full((deals,), -torch.inf)
    zs: dict[str, Tensor] = {}
    reached: dict[str, Tensor] = {}
    for done, (name, layer) in enumerate(scores.layers.items()):
        progress("deals", done, len(scores.layers))
        on, labels = layer.witnesses[:images], scores.labels[layer.grid][:images]
        shape = on.shape[1], labels.shape[1]
        zs[name], reached[name] = torch.full(shape, torch.nan), torch.full(shape, torch.nan)
        judged = _present(on)[:, None] & _present(labels)
        for block, beyond in _overlaps(on, labels, dealt):
            zs[name][block], got = _measured(beyond, judged[block])
            reached[name][block] = torch.where(got[0].isfinite(), got[0], torch.nan)
            highest = torch.maximum(highest, got[1:].flatten(1).amax(1))
    progress("deals", len(scores.layers), len(scores.layers))
    p = {name: _p(far, highest) for name, far in reached.items()}
    return Chance({name: z.double() for name, z in zs.items()}, p, images, deals)


def _dealt(images: int, deals: int, seed: int) -> Tensor:
    """Rows of the table of pairs of images, (1 + deals, images): as it is, and each deal."""
    generator = torch.Generator().manual_seed(seed)
    order = [torch.arange(images), *(torch.randperm(images, generator=generator) for _ in range(deals))]
    return torch.stack(order) + torch.arange(images) * images


def _present(maps: Tensor) -> Tensor:
    """Which units or concepts (K,) of maps (N, K, P) are there in enough images to be judged."""
    return (maps > 0).any(2).sum(0) >= max(3, PRESENCE * len(maps))


def _overlaps(on: Tensor, labels: Tensor, dealt: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of units; their overlap with concepts in each deal, less its mean over all that there are (D, u, C)."""
    (images, units, _), concepts = on.shape, labels.shape[1]
    maps = labels.float().flatten(0, 1)
    maps /= maps.amax().clamp(min=1)
    step = max(1, ROOM // (images**2 * concepts))
    for first in range(0, units, step):
        part = on[:, first : first + step].float()
        # (image, label map and concept, unit): a row of the bag is an image under the label map of one.
        table = torch.matmul(maps, part.transpose(1, 2)).view(images**2, -1)
        mean = table.sum(0, dtype=torch.float64) / images
        sums = F.embedding_bag(dealt, table, mode="sum")
        yield slice(first, first + part.shape[1]), (sums - mean).float().unflatten(1, (concepts, -1)).transpose(1, 2)


def _measured(beyond: Tensor, judged: Tensor) -> tuple[Tensor, Tensor]:
    """z (u, C), and how far each deal gets (1 + deals, u, C), of overlaps beyond their mean."""
    deviation = beyond[1:].square().mean(0).sqrt()
    count = max(1, round(HIGHEST * len(beyond)))
    measure = beyond.topk(count, 0).values.mean(0)
    # What is left of rounding, where every deal gives the same, is no deviation.
    judged = judged & (measure > 1e-4 * beyond.abs().amax()) & (deviation > 0)
    z = torch.where(judged, beyond[0] / deviation, torch.nan)
    return z, torch.where(judged, beyond / measure, -torch.inf)


def _p(reached: Tensor, highest: Tensor) -> Tensor:
    ordered = highest.sort().values
    further = len(ordered) - torch.searchsorted(ordered, reached.nan_to_num(nan=torch.inf).contiguous())
    return torch.where(reached.isnan(), torch.nan, (1 + further.double()) / (len(ordered) + 1))
