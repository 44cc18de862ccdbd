"""Directions compared at equal effect: each as strong as it must be to change a place alike, and what else it changes.

Distances differ from method to method at any one strength, so only what a change costs elsewhere can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

import edits
from rewrite.navigation.calibration import Bench
from rewrite.navigation.reach import CLOSE, reach
from rewrite.navigation.where import Where


@dataclass(frozen=True)
class Equal:
    """One edit at the strength of equal effect; distances are means over the bench's seeds and both signs."""

    strength: float
    inside: float
    rest: float
    reached: bool
    """Whether it changes the place as much as was asked at all."""

    @property
    def leak(self) -> float:
        """Change of the rest for each change inside."""
        return self.rest / self.inside if self.inside else float("inf")


def equal_effect(named: Mapping[str, edits.Edit], place: Bench, inside: Where, target: float) -> dict[str, Equal]:
    """Each edit at the strength at which what is `inside`, by the unedited images, changes by `target`.

    The two distances add up to the whole one. Strengths must be free: an edit that scales or sets is refused by it.
    """
    with torch.no_grad():
        coverage = [inside(place.metric.downsized(images)) for images in place.images()]
        base = [place.metric.embed(images, part) for images, part in zip(place.images(), coverage, strict=True)]

    def measured(edit: edits.Edit, strength: float) -> tuple[float, float]:
        within, whole = 0.0, 0.0
        for signed in (strength, -strength):
            with edits.applied(place.generator.module, (edit, signed)):
                for images, part, before in zip(place.images(), coverage, base, strict=True):
                    within += float((place.metric.embed(images, part) - before).square().sum()) / 2
            whole += place.moved(edit, signed).distance / 2
        within /= len(place.seeds)
        return within, max(whole - within, 0.0)

    found = {}
    for name, edit in named.items():
        strength, _ = reach(lambda one, edit=edit: measured(edit, one)[0], target)  # type: ignore[misc]
        within, rest = measured(edit, strength)
        found[name] = Equal(strength, within, rest, abs(within - target) <= 2 * CLOSE * target)
    return found
