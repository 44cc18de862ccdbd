"""How agreement is measured: where a unit's threshold lies, and on which grid units and concepts meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from rewrite.errors import RewriteError, nearest
from rewrite.units.grid import Grid, one_hot, pieces, prevailing, upsampled

CHOOSING = 2
"""Stream whose rows choose the thresholds."""
SCORING = 1
"""Stream whose rows are scored with them."""


@dataclass(frozen=True)
class Protocol:
    """`threshold` is "quantile", that which a `tail` of a unit's values exceeds, or "iqr", that of the highest
    information quality ratio with any concept. Units and concepts meet on the layer's own cells, or, `upsampled`, on
    the label map's pixels, or on at most `points` a side, each of the concept that covers most of it; `padding` says
    what is beyond the border of the features."""

    name: str
    threshold: Literal["iqr", "quantile"] = "iqr"
    tail: float = 0.005
    upsampled: bool = False
    points: int | None = None
    padding: Literal["border", "zeros"] = "border"

    def __post_init__(self) -> None:
        if not 0 < self.tail < 1:
            raise RewriteError(f"the tail is {self.tail}; expected a share of a unit's values, above 0 and below 1")

    def grid(self, own: Grid, size: Grid) -> Grid:
        """Where a layer of the grid `own` meets label maps of `size`."""
        if not self.upsampled:
            return own
        height, width = (min(side, self.points or side) for side in size)
        return height, width

    def spread(self, features: Tensor, size: Grid) -> Iterator[Tensor]:
        """Features (N, U, h, w) where they meet label maps of `size`, some images at a time."""
        height, width = grid = self.grid((features.shape[2], features.shape[3]), size)
        for piece in pieces(features, height * width):
            yield upsampled(piece, grid, self.padding)

    def meeting(self, planes: Tensor, size: Grid) -> Tensor:
        """0-or-1 planes (N, C, H, W) of label maps of `size`, where features meet them."""
        grid = self.grid(size, size)
        return planes if grid == size else one_hot(prevailing(planes, grid), planes.shape[1])


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("iqr"),
        Protocol("quantile", "quantile"),
        # Bau et al. 2020, "Understanding the role of individual units in a deep neural network".
        Protocol("dissect", "quantile", tail=0.01, upsampled=True, points=64, padding="zeros"),
    )
}


def protocol(asked: str | Protocol) -> Protocol:
    """The protocol of that name; RewriteError if there is none."""
    if isinstance(asked, Protocol):
        return asked
    if asked not in PROTOCOLS:
        raise RewriteError(f"there is no protocol {asked!r}; nearest: {nearest(asked, PROTOCOLS)}")
    return PROTOCOLS[asked]
