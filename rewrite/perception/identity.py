"""What a figure was measured with, and the refusal to compare what was measured with different things."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rewrite.errors import RewriteError


@dataclass(frozen=True)
class Identity:
    """A network, and all that is done to an image before and to its features after. Equal, or not comparable."""

    name: str
    layer: str = ""
    resolution: int | None = None
    """Side in px that images are resized to; None where they are taken as they come."""
    interpolation: str = "none"
    """How images of another side come to `resolution`; they keep their pixels if they have it already."""
    rounding: str = "none"
    """"uint8" where images are first rounded to the 256 levels that a file would hold."""
    weights: str = ""
    """SHA-256 of the weight files, joined by +."""
    scale: str = ""
    """What the features were standardised by, in the caller's words."""

    @property
    def short(self) -> str:
        """The name for people: `lite0@64/112`."""
        return self.name + (f"@{self.resolution}" if self.resolution else "") + (f"/{self.layer}" if self.layer else "")

    def __str__(self) -> str:
        facts = [self.short, self.interpolation, self.rounding, self.weights[:12], self.scale]
        return ", ".join(fact for fact in facts if fact and fact != "none")

    @property
    def facts(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self)


def agreed(*identities: Identity) -> Identity:
    """The one identity that all are; RewriteError, saying where they differ, if they are not one."""
    first = identities[0]
    for other in identities[1:]:
        if other != first:
            ours, theirs = first.facts, other.facts
            apart = [f"{fact} {ours[fact]!r} and {theirs[fact]!r}" for fact in ours if ours[fact] != theirs[fact]]
            raise RewriteError(
                f"features of {first.short} and of {other.short} are not comparable ({'; '.join(apart)}); measure "
                f"both with one extractor, prepared in one way"
            )
    return first
