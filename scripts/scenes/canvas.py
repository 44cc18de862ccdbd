"""What is painted on: images and their label maps, later shapes over earlier ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scenes.classes import LABEL
from scenes.geometry import SIZE, Window


@dataclass(frozen=True)
class Canvas:
    """`image` (N, 3, 64, 64) in [0, 1] and `labels` (N, 64, 64)."""

    image: np.ndarray
    labels: np.ndarray

    @classmethod
    def blank(cls, count: int) -> Canvas:
        """Black, and all sky."""
        return cls(np.zeros((count, 3, SIZE, SIZE), np.float32), np.zeros((count, SIZE, SIZE), np.uint8))

    def paint(self, window: Window, coverage: np.ndarray, colour: np.ndarray, name: str | None = None) -> None:
        """Lay a colour (N, 3), or (N, 3, h or 1, w or 1), over the image. Pixels more than half covered become `name`.

        Without a name it is light or shade, and what is there remains what it is.
        """
        rows, columns = window.place
        colour = colour if colour.ndim == 4 else colour[:, :, None, None]
        part = self.image[:, :, rows, columns]
        part += coverage[:, None] * (colour - part)
        if name is not None:
            np.copyto(self.labels[:, rows, columns], LABEL[name], where=coverage > 0.5)

    def take(self, chosen: np.ndarray) -> Canvas:
        """A copy of some of the scenes; `put` brings it back."""
        return Canvas(self.image[chosen], self.labels[chosen])

    def put(self, chosen: np.ndarray, part: Canvas) -> None:
        self.image[chosen], self.labels[chosen] = part.image, part.labels
