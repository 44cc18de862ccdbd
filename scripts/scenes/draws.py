"""Random numbers that depend on a seed and a position, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

POSITIONS = 256


class Draws:
    """Each call takes the next position of every seed's own sequence. Results are (N,) or (N, count).

    The numbers are those of splitmix64 (Steele, Lea and Flood 2014), a counter and a hash: no state is carried from
    scene to scene, and a batch is one vectorised computation.
    """

    def __init__(self, seeds: np.ndarray):
        self.start = seeds.astype(np.uint64) * np.uint64(POSITIONS)
        self.used = 0

    def unit(self) -> np.ndarray:
        """Uniform in [0, 1), float32."""
        if self.used == POSITIONS:
            raise ValueError(f"a scene has {POSITIONS} numbers of its own; the next would be those of the next seed")
        x = (self.start + np.uint64(self.used + 1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        self.used += 1
        return ((x ^ (x >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)

    def uniform(self, low: float, high: float) -> np.ndarray:
        return np.float32(low) + self.unit() * np.float32(high - low)

    def chance(self, share: float | np.ndarray) -> np.ndarray:
        """True with this probability."""
        return self.unit() < share

    def choice(self, *shares: float) -> np.ndarray:
        """An index, with these probabilities."""
        bounds = np.cumsum(np.array(shares) / sum(shares))[:-1]
        return np.searchsorted(bounds, self.unit(), side="right")

    def colour(self, colours: Sequence[Sequence[float]]) -> np.ndarray:
        """One of these colours, (N, 3), a little lighter or darker."""
        chosen = np.array(colours, np.float32)[self.choice(*[1] * len(colours))]
        return np.clip(chosen * self.uniform(0.93, 1.07)[:, None], 0, 1)

    def several(self, count: int, low: float, high: float) -> np.ndarray:
        """`count` uniform numbers, (N, count)."""
        return np.stack([self.uniform(low, high) for _ in range(count)], axis=1)

    def chances(self, count: int, share: float) -> np.ndarray:
        return np.stack([self.chance(share) for _ in range(count)], axis=1)
