"""What `conflict` found out, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rewrite.composition.losses import Matrix
from rewrite.composition.meeting import Shift
from rewrite.composition.overlap import Crowd, Overlap
from rewrite.composition.verdict import THRESHOLDS, Verdict


@dataclass(frozen=True)
class Party:
    """An edit as it was looked at: composed ones are taken apart."""

    content: str
    name: str
    strength: float
    touched: tuple[str, ...]
    layer: str | None
    """The layer of its rule; None where it has no recipe that can be replayed, so that its own loss is unknown."""


@dataclass(frozen=True)
class Clash:
    """Two edits (by place in `Conflict.parties`) that cannot be had together, and why."""

    pair: tuple[int, int]
    said: str


@dataclass(frozen=True)
class Touch:
    """Two edits (by place) that add to the same layer."""

    pair: tuple[int, int]
    layer: str
    overlap: Overlap
    cosine: float
    """Of what they do to natural images: below zero they work against each other."""


@dataclass(frozen=True)
class AtLayer:
    """What edits make of one layer that rules are written into."""

    layer: str
    rules: tuple[int, ...]
    """By place in `Conflict.parties`, as the rows of `crowd.shared`."""
    crowd: Crowd
    alone: tuple[Shift, ...]
    """Of each rule by itself."""
    together: Shift | None
    """Of the plain sum; None where there can be none."""


@dataclass(frozen=True)
class Rounding:
    """What a change loses when the weights are rounded to their type: ||fl(W + dW) - W - dW|| / ||dW||."""

    parameter: str
    dtype: str
    party: int | None
    """By place; None is the sum of all."""
    lost: float


@dataclass(frozen=True)
class Resolved:
    """What `resolve` would make of the same edits."""

    losses: tuple[float | None, ...]
    """Of each party, relative to what its recipe promises where it is now solved; None where it has no recipe."""
    background_shift: Mapping[str, float]
    """By layer."""
    said: str


@dataclass(frozen=True)
class Conflict:
    """What edits would do to one another in a plain sum. Places count `parties`, which are sorted by content."""

    parties: tuple[Party, ...]
    clashes: tuple[Clash, ...]
    touches: tuple[Touch, ...]
    losses: Matrix
    """Row i, column j: what rule i would lose of its effect to edit j, 0 being nothing; None where it is not known."""
    losses_in_sum: tuple[float | None, ...]
    """What each rule would lose to all the others at once."""
    layers: tuple[AtLayer, ...]
    rounding: tuple[Rounding, ...]
    resolved: Resolved | None
    """None where a sum is fine, or impossible, or `resolve` cannot be had either (`unresolved` then says why)."""
    unresolved: str | None
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data, the thresholds with it, numbers to six digits."""
        thresholds = {name: asdict(threshold) for name, threshold in THRESHOLDS.items()}
        shortened: dict[str, Any] = _shortened(asdict(self) | {"thresholds": thresholds})
        return shortened


def _shortened(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _shortened(item) for key, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list | tuple) else value
