"""What seeds show before an edit: seen once, for all the edits that are judged on them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from torch import Tensor

from rewrite.generator import Generator
from rewrite.perception import Features

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Before:
    """A batch of seeds without an edit."""

    images: Tensor
    anchor: Tensor
    """The same images as JPEG files."""
    features: Mapping[str, Features]
    """Of `base` and `anchor`."""
    distances: Tensor | None
    """(N,): from the one to the other; None where they are not kept, for beside those to the edited they cost less."""
    areas: Tensor | None
    """Shares (N, K) of the classes, with a segmenter."""


@dataclass(frozen=True, eq=False)
class Remembered:
    """Of one generator, whose own weights must not change meanwhile; images that need much memory are not kept."""

    generator: Generator
    largest: int = 256
    """Side of the largest images that are kept."""
    kept: dict[Hashable, object] = field(default_factory=dict)

    def keeps(self, side: int) -> bool:
        """Whether what holds images of this side is kept."""
        return side <= self.largest

    def once(self, what: str, seeds: Sequence[int], ways: Hashable, make: Callable[[], T], side: int = 0) -> T:
        """What `make` makes of these seeds, looked at in these ways: made at the first call.

        `side` is that of the images that it holds, if it holds any.
        """
        if not self.keeps(side):
            return make()
        key = (what, tuple(seeds), ways)
        if key not in self.kept:
            self.kept[key] = make()
        return cast(T, self.kept[key])


def forgetful(generator: Generator) -> Remembered:
    """What keeps no image, for a check that no other follows."""
    return Remembered(generator, largest=0)
