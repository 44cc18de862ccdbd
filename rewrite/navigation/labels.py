"""What a direction is about: which classes of a segmenter it changes, by how much, and how much it leaves the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

import edits
from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.concepts.interface import class_names
from rewrite.navigation.calibration import Bench, accepts
from rewrite.navigation.direction import short

SEEN = 0.002
"""Of the image: an area that changes by less is said to stay."""
TONE = 0.02
"""Of the range from black to white: a brightness that changes by less is said to stay."""
HUE = 0.04
"""Of the range of a channel: a colour that changes by less is said to stay."""


@dataclass(frozen=True)
class Moved:
    """One class, from strength -1 (0, where there is no -1) to 1, in the mean over the seeds."""

    share: float
    """Of all squared change of pixels, what lies on the class, before or after."""
    area: float
    """What it covers of the image, unedited."""
    grows: float
    """How its area changes, as a share of the image."""
    brighter: float
    """How its mean brightness changes, from 0 to 1."""
    redder: float = 0.0
    """How its mean red less its mean green changes, from 0 to 1."""
    yellower: float = 0.0
    """The same of the mean of red and green less blue."""

    @property
    def hue(self) -> str | None:
        """Where its colour goes, in a word, if it is seen to."""
        strongest = max(
            (self.redder, "redder", "greener"), (self.yellower, "yellower", "bluer"), key=lambda it: abs(it[0])
        )
        amount, up, down = strongest
        return None if abs(amount) < HUE else up if amount > 0 else down


@dataclass(frozen=True)
class Label:
    """The main concept is the class on which change concentrates most: share times log(share / area)."""

    main: str | None
    disentanglement: float
    """The main concept's share of the change."""
    classes: Mapping[str, Moved]

    @property
    def says(self) -> str:
        """In a few words."""
        if self.main is None:
            return "no class in particular"
        one = self.classes[self.main]
        words = [f"{self.main}"]
        if abs(one.grows) >= SEEN:
            words.append("grows" if one.grows > 0 else "shrinks")
        if abs(one.brighter) >= TONE:
            words.append("lighter" if one.brighter > 0 else "darker")
        if one.hue:
            words.append(one.hue)
        return f"{', '.join(words)} ({self.disentanglement:.0%} of the change)"

    def as_json(self) -> dict[str, Any]:
        return {"says": self.says} | asdict(self)


def label(edit: edits.Edit, place: Bench, segmenter: Segmenter) -> Label:
    """What a calibrated edit is about, by the seeds it was calibrated on, at strengths -1 and 1."""
    classes = class_names(segmenter)
    total = _Sums(len(classes))
    with edits.applied(place.generator.module, (edit, -1.0 if accepts(edit, -1.0) else 0.0)):
        before = [(images, label_maps(segmenter, images)) for images in place.images()]
    with edits.applied(place.generator.module, (edit, 1.0)):
        after = [(images, label_maps(segmenter, images)) for images in place.images()]
    base = [label_maps(segmenter, images) for images in place.images()]
    for (one, one_maps), (other, other_maps), maps in zip(before, after, base, strict=True):
        total.add(one, one_maps, other, other_maps, maps)
    return total.label(classes)


def concentration(share: float, area: float) -> float:
    """How much of the change is on a class beyond what its area alone would give it."""
    return share * math.log(share / area) if share > 0 and area > 0 else 0.0


class _Sums:
    """Running sums over images, one a class."""

    def __init__(self, classes: int) -> None:
        self.images = 0
        self.energy, self.area, self.grows = (torch.zeros(classes, dtype=torch.float64) for _ in range(3))
        self.colour = torch.zeros(2, classes, 3, dtype=torch.float64)
        self.seen = torch.zeros(2, classes, dtype=torch.float64)
        self.all = 0.0

    def add(self, one: Tensor, one_maps: Tensor, other: Tensor, other_maps: Tensor, maps: Tensor) -> None:
        change = (other - one).double().square().mean(1)
        self.images += len(one)
        self.all += float(change.sum())
        pixels = maps[0].numel()
        for c in range(len(self.energy)):
            on = [(found == c) for found in (one_maps, other_maps)]
            # Half of a pixel's change belongs to what it was and half to what it is, so shares add up to 1.
            self.energy[c] += float((change * (on[0].double() + on[1].double()) / 2).sum())
            self.area[c] += float((maps == c).double().sum()) / pixels
            self.grows[c] += float(on[1].double().sum() - on[0].double().sum()) / pixels
            for side, (images, where) in enumerate(zip((one, other), on, strict=True)):
                self.colour[side, c] += ((images.double() + 1) / 2 * where[:, None]).sum((0, 2, 3)).cpu()
                self.seen[side, c] += float(where.double().sum())

    def label(self, classes: tuple[str, ...]) -> Label:
        shares = self.energy / self.all if self.all > 0 else self.energy
        areas, grows = self.area / self.images, self.grows / self.images
        colours = self.colour / self.seen.clamp(min=1)[..., None]
        red, green, blue = ((colours[1] - colours[0]) * (self.seen > 0).all(0)[:, None]).unbind(1)
        tones = ((red + green + blue) / 3, red - green, (red + green) / 2 - blue)
        moved = {
            name: Moved(*(short(float(each[c])) for each in (shares, areas, grows, *tones)))
            for c, name in enumerate(classes)
        }
        best = max(classes, key=lambda name: concentration(moved[name].share, moved[name].area))
        if concentration(moved[best].share, moved[best].area) <= 0:
            return Label(None, 0.0, moved)
        return Label(best, moved[best].share, moved)
