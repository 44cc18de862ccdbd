"""Directions that do the same: the angle between what they do to images, as the metric sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

import edits
from rewrite.navigation.calibration import Bench, accepts
from rewrite.navigation.direction import Direction

SAME = 0.9
"""Cosine, of either sign, from which two directions are one."""
SEEDS = 8
STRENGTH = 0.5


def cosines(directions: Sequence[edits.Edit], place: Bench, *, strength: float = STRENGTH) -> Tensor:
    """Cosines (K, K) float64 between the changes that edits make to embeddings, over the bench's first 8 seeds.

    1 is the same change, -1 the opposite one; an edit that changes nothing has cosine 0 with every other.
    """
    few = replace(place, seeds=place.seeds[:SEEDS])
    base = place.base[:SEEDS]
    changes: list[Tensor] = []
    gram = torch.eye(len(directions), dtype=torch.float64)
    for i, edit in enumerate(directions):
        with edits.applied(few.generator.module, (edit, strength if accepts(edit, strength) else 1.0)):
            change = torch.cat([few.metric.embed(images) for images in few.images()]).sub_(base).flatten()
        # Of unit length, so that half precision holds it: a hundred directions of large images then fit.
        changes.append((change / change.norm().clamp(min=1e-30)).half())
        for j in range(i):
            gram[i, j] = gram[j, i] = float(changes[i].float() @ changes[j].float())
    return gram


def merged(directions: Sequence[Direction], place: Bench, *, same: float = SAME) -> list[Direction]:
    """The directions without those that do what an earlier one does; the earlier one names them."""
    apart = cosines([one.edit for one in directions], place).abs()
    kept: list[int] = []
    names: dict[int, list[str]] = {}
    for i in range(len(directions)):
        twin = next((j for j in kept if apart[i, j] >= same), None)
        if twin is None:
            kept.append(i)
            names[i] = []
        else:
            names[twin].append(directions[i].name)
    return [replace(directions[i], same=(*directions[i].same, *names[i])) for i in kept]
