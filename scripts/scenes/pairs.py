"""Which latent stands for which scene: the numbers that the renderer draws for it, made normal, and turned.

A scene is a function of its random numbers. Turned by one fixed rotation they are a standard normal latent, in which no
axis stands for any of them; and for every latent there is the very scene that a generator ought to paint.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from scenes.draws import Draws

TRAINED = 10_000_000
"""The first seed that training sees; each further image is the next one, and none is seen twice."""


def latents(seeds: Iterable[int], size: int) -> Tensor:
    """Latents (N, `size`) of the scenes of these seeds, each N(0, 1) and independent over seeds.

    A scene needs `scene.NUMBERS` of the numbers; what a longer latent has beyond them decides nothing.
    """
    draws = Draws(np.fromiter(seeds, np.int64))
    units = torch.from_numpy(np.stack([draws.unit() for _ in range(size)], axis=1)).double()
    # They are multiples of 2^-24, from 0 on: half a step more is never 0 or 1.
    return (torch.special.ndtri(units + 2**-25) @ _rotation(size)).float()


@cache
def _rotation(size: int) -> Tensor:
    return torch.linalg.qr(torch.from_numpy(np.random.RandomState(0).standard_normal((size, size))))[0]
