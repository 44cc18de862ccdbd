"""The strength at which a measured change is a stated one."""

from __future__ import annotations

import math
from collections.abc import Callable

from rewrite.progress import Progress, quiet

CLOSE = 0.02
"""Of the stated change: it is found to within this."""
TRIES = 24
LEAP = 16.0
"""The most that a strength is multiplied or divided by at once."""
STILL = 1.05
"""A change that grows by less than this for half as much strength again, or more, has reached all that it will."""


def reach(measure: Callable[[float], float], target: float, *, progress: Progress = quiet) -> tuple[float, float]:
    """The strength above 0 at which `measure`, a squared length, is the target, and what it is there.

    It grows as a power of the strength at first, so the search is one for a straight line in logarithms. Where it
    stays below the target, the strength of half of what it reaches is given; (1, 0) where it is 0 everywhere.
    """
    seen: dict[float, float] = {}
    low, high, strength = 0.0, math.inf, 1.0
    while len(seen) < TRIES:
        progress("finding a strength", len(seen), TRIES)
        found = seen[strength] = measure(strength)
        if abs(found - target) <= CLOSE * target:
            break
        if found < target and low > 0 and strength > 1.5 * low and found < STILL * seen[low]:
            break
        low, high = (strength, high) if found < target else (low, strength)
        if low > 0 and high < math.inf:
            strength = _between(low, high, seen[low], seen[high], target, halve=len(seen) % 3 == 0)
        else:
            beyond = 1.1 if found < target else 0.9
            strength *= min(LEAP, max(1 / LEAP, beyond * math.sqrt(target / found))) if found > 0 else LEAP
    progress("finding a strength", TRIES, TRIES)
    top = max(seen.values())
    if top == 0:
        return 1.0, 0.0
    best = min((one for one in seen if seen[one] > 0), key=lambda one: abs(seen[one] - target))
    if top < (1 - CLOSE) * target:
        return reach(measure, top / 2, progress=progress)
    return best, seen[best]


def _between(low: float, high: float, under: float, over: float, target: float, *, halve: bool) -> float:
    share = 0.5
    if under > 0 and not halve:
        share = (math.log(target) - math.log(under)) / (math.log(over) - math.log(under))
    return math.exp(math.log(low) + min(0.95, max(0.05, share)) * (math.log(high) - math.log(low)))
