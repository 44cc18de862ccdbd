"""A measured number that knows what it may be compared with, and what it may be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rewrite.errors import RewriteError
from rewrite.perception.identity import Identity, agreed
from rewrite.perception.inception import PUBLISHED

PUBLISHED_NAMES: Mapping[str, str] = {"FD": "FID", "KD": "KID"}
"""What a figure is called if, and only if, it is of the published Inception features, unscaled."""


@dataclass(frozen=True)
class Figure:
    """A value, what was measured, with which features, on how many images of each side."""

    measure: str
    """"FD", "KD", "paired KD", "precision", ..."""
    value: float
    identity: Identity
    samples: tuple[int, int]
    interval: tuple[float, float] | None = None
    depends_on_samples: bool = True
    """Whether its expectation moves with the number of images, so that only equal numbers compare."""

    @property
    def label(self) -> str:
        """`FID`, or what it is: `FD-lite0@64/112 (offline proxy, not FID)`."""
        if self.measure not in PUBLISHED_NAMES:
            return f"{self.measure} ({self.identity.short})"
        if self.identity == PUBLISHED:
            return PUBLISHED_NAMES[self.measure]
        proxy = "offline proxy, " if self.identity.name == "lite0" else ""
        return f"{self.measure}-{self.identity.short} ({proxy}not {PUBLISHED_NAMES[self.measure]})"

    def over(self, anchor: Figure) -> Figure:
        """How many times the anchor, which is taken as exact; RewriteError if it is not comparable, or not above 0."""
        same_column(self, anchor)
        if anchor.value <= 0:
            raise RewriteError(
                f"the anchor of {self.label} is {anchor.value:g}; expected more than 0, so take a stronger anchor, or "
                f"more seeds"
            )
        low_high = None if self.interval is None else (self.interval[0] / anchor.value, self.interval[1] / anchor.value)
        return replace(self, measure=f"{self.measure} / anchor", value=self.value / anchor.value, interval=low_high)

    def minus(self, other: Figure) -> Figure:
        """The difference, whose bias is much smaller where both are against the same images; no interval."""
        same_column(self, other)
        return replace(self, measure=f"d{self.measure}", value=self.value - other.value, interval=None)


def same_column(*figures: Figure) -> None:
    """RewriteError unless all may stand in one column of a table."""
    first = figures[0]
    agreed(*(figure.identity for figure in figures))
    for other in figures[1:]:
        if other.measure != first.measure:
            raise RewriteError(f"{first.measure} and {other.measure} are different measures; compare like with like")
        if first.depends_on_samples and other.samples != first.samples:
            raise RewriteError(
                f"{first.label} of {first.samples} images and of {other.samples} are not comparable, for it is biased "
                f"by how many there are; measure both on equally many"
            )
