"""The verdict on a plain sum of edits: one word, the worst reason, one remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rewrite.composition.joint import KEPT
from rewrite.rules.judge import MOST_BACKGROUND, MOST_DRIFT

Level = Literal["fine", "warn", "conflict"]
LEVELS: tuple[Level, ...] = ("fine", "warn", "conflict")


@dataclass(frozen=True)
class Threshold:
    """Above `warn` a figure is a warning, above `conflict` a conflict; None where it never is one."""

    warn: float
    conflict: float | None = None

    def level(self, value: float) -> Level:
        """What a value of the figure comes to."""
        if self.conflict is not None and value > self.conflict:
            return "conflict"
        return "warn" if value > self.warn else "fine"


THRESHOLDS = {
    "loss": Threshold(KEPT, 0.3),
    "background_shift": Threshold(0.5, MOST_BACKGROUND),
    "gain_drift": Threshold(0.1, MOST_DRIFT),
    "lost_to_rounding": Threshold(0.05, 0.3),
    # What follows is no loss yet, only where one may come from.
    "cosine": Threshold(0.3),
    "conditioning": Threshold(100.0),
    "capacity": Threshold(0.8),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and what to do if it is not fine."""

    level: Level
    because: str
    remedy: str

    @staticmethod
    def of(figure: str, value: float, because: str, remedy: str) -> Finding:
        """The finding that a figure's value makes by its threshold."""
        return Finding(THRESHOLDS[figure].level(value), because, remedy)


@dataclass(frozen=True)
class Verdict:
    """`level`, the sentence that it rests on, and what to do."""

    level: Level
    because: str
    remedy: str


def verdict(findings: Iterable[Finding], rules: bool) -> Verdict:
    """The worst finding; of equally bad ones the first: they come with the surest first.

    `rules` says whether any edit has a recipe, without which no loss is known.
    """
    bad = [finding for finding in findings if finding.level != "fine"]
    if not bad and rules:
        return Verdict("fine", f"no rule loses more than {KEPT:.0%} of its effect", "a plain sum will do")
    if not bad:
        because = "none of the edits has a recipe, and what can be told without speaks for a plain sum"
        return Verdict("fine", because, "look at images of each and of all")
    worst = max(bad, key=lambda finding: LEVELS.index(finding.level))
    return Verdict(worst.level, worst.because, worst.remedy)
