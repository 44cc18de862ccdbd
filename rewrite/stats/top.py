"""The k largest of a stream, by row, with where they were seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NONE = -1
"""Index of a place that nothing has taken yet."""


@dataclass(frozen=True)
class Top:
    """For each row the largest values seen, the largest first; of equal ones that of the lower index counts.

    `index` says which sample a value came from, `payload` is what was seen there. So the same values make the same
    table to the bit, in whatever order and parts they came.
    """

    values: Tensor
    """(R, k) float32; -inf where there is none."""
    index: Tensor
    """(R, k) int64; NONE where there is none."""
    payload: Tensor
    """(R, k, ...)."""

    @staticmethod
    def empty(rows: int, k: int, payload: tuple[int, ...] = (), dtype: torch.dtype = torch.int64) -> Top:
        return Top(
            torch.full((rows, k), -torch.inf),
            torch.full((rows, k), NONE, dtype=torch.int64),
            torch.zeros(rows, k, *payload, dtype=dtype),
        )

    def admits(self, values: Tensor) -> Tensor:
        """Which of the values (R, n) could enter the table, so that payloads need not be made for the rest."""
        return values >= self.values[:, -1:]

    def add(self, values: Tensor, index: Tensor, payload: Tensor) -> Top:
        """With values (R, n), their samples' index (n,) or (R, n), and payload (R, n, ...) counted in."""
        index = index.expand_as(values)
        return self.merge(Top(values.float(), index, payload))

    def merge(self, other: Top) -> Top:
        """Both together."""
        k = self.values.shape[1]
        values = torch.cat([self.values, other.values], 1)
        index = torch.cat([self.index, other.index], 1)
        payload = torch.cat([self.payload, other.payload], 1)
        # By index first; the second sort is stable, so it decides only where values differ.
        order = index.argsort(1)
        order = order.gather(1, values.gather(1, order).argsort(dim=1, descending=True, stable=True))[:, :k]
        at = order.view(*order.shape, *[1] * (payload.ndim - 2)).expand(-1, -1, *payload.shape[2:])
        return Top(values.gather(1, order), index.gather(1, order), payload.gather(1, at))
