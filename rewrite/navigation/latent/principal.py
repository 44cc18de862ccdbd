"""Principal components of vectors that come in parts: what is counted over parts is what is counted over all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.errors import RewriteError


@dataclass(frozen=True)
class Principal:
    """Count, mean (d,) and scatter (d, d), the sum of (x - mean)(x - mean)', float64.

    Parts merge exactly but for rounding (Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for
    computing sample variances"), where incremental PCA forgets what lies outside its components.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @staticmethod
    def empty(size: int) -> Principal:
        return Principal(0, torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64))

    def add(self, vectors: Tensor) -> Principal:
        """With the vectors (N, d) counted in."""
        if not len(vectors):
            return self
        wide = vectors.detach().cpu().double()
        centred = wide - wide.mean(0)
        return self.merge(Principal(len(wide), wide.mean(0), centred.T @ centred))

    def merge(self, other: Principal) -> Principal:
        """Both together."""
        count = self.count + other.count
        if not count:
            return self
        apart, share = other.mean - self.mean, other.count / count
        between = torch.outer(apart, apart) * (self.count * share)
        return Principal(count, self.mean + apart * share, self.scatter + other.scatter + between)

    def components(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Unit components (count, d), largest variance first, their variances, and their shares of all of it."""
        most = min(len(self.mean), self.count - 1)
        if not 0 < count <= most:
            raise RewriteError(
                f"{count} components were asked of {self.count} vectors of {len(self.mean)} numbers; expected 1 at "
                f"least, and no more than numbers or than vectors less one"
            )
        values, vectors = torch.linalg.eigh(self.scatter / (self.count - 1))
        values = values.flip(0).clamp(min=0)
        return vectors.flip(1).T[:count].contiguous(), values[:count], values[:count] / values.sum()
