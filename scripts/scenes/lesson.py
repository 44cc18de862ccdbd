"""The mapping network alone, taught to tell from a latent what its scene is described by.

It is small, and needs no images: minutes of it spare the whole generator hours of finding out which turn of the latent
means dusk. What it has learnt is where the training of both begins.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edits.file import write_atomically
from rewrite.errors import RewriteError
from rewrite.models.stylegan2 import MAPPING_RATE, StyleGAN2
from scenes.contest import SEED
from scenes.description import describe
from scenes.pairs import latents
from scenes.scene import NUMBERS, draw
from scenes.settings import Shape

BATCH = 1024
FIRST = 2**31
"""The first seed: far from those of the training and of what is held out."""
RATE = 0.002
"""Learning rate of the weights as they act."""
FALLING, LEAST = 0.5, 0.01
"""Share of the plan, at its end, over which the rate falls linearly, and to what of itself."""


@dataclass
class Lesson:
    """What its file holds."""

    shape: Shape
    mapping: nn.Module
    adam: torch.optim.Adam
    latents: int = 0
    """Seen so far, over all stretches."""

    @classmethod
    def begin(cls, shape: Shape) -> Lesson:
        """An untrained mapping, always the same one."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            mapping = StyleGAN2(resolution=64, channels=shape.channels, z=shape.z, w=shape.w, depth=shape.depth).mapping
        kinds = ("weight", "bias")
        parameters = {kind: [p for name, p in mapping.named_parameters() if name.endswith(kind)] for kind in kinds}
        # A stored weight acts scaled by the rate's multiplier and by its fan-in.
        rates = {"weight": RATE / MAPPING_RATE * shape.w**0.5, "bias": RATE / MAPPING_RATE}
        groups = [{"params": parameters[kind], "lr": rates[kind], "full": rates[kind]} for kind in kinds]
        return cls(shape, mapping, torch.optim.Adam(groups))

    def save(self, path: Path) -> None:
        stream = io.BytesIO()
        parts = {"mapping": self.mapping.state_dict(), "adam": self.adam.state_dict(), "latents": self.latents}
        torch.save(parts, stream)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, stream.getvalue())

    @classmethod
    def resume(cls, path: Path, shape: Shape) -> Lesson:
        """The state that `save` wrote; RewriteError if its mapping is not of this shape."""
        stored, lesson = torch.load(path, weights_only=True), cls.begin(shape)
        try:
            lesson.mapping.load_state_dict(stored["mapping"])
        except RuntimeError:
            raise RewriteError(f"the mapping in {path} is not of {shape}; give another folder") from None
        lesson.adam.load_state_dict(stored["adam"])
        lesson.latents = stored["latents"]
        return lesson

    def step(self, plan: int) -> Tensor:
        """Learn from the next latents, of `plan` in all; the share of what is described that was left unexplained."""
        falling = min(1.0, (1 - self.latents / plan) / FALLING)
        for group in self.adam.param_groups:
            group["lr"] = group["full"] * (LEAST + (1 - LEAST) * max(0.0, falling))
        z, wanted, described = _drawn(range(self.latents, self.latents + BATCH), self.shape)
        misses = (self.mapping(z, None) - wanted).square()
        self.adam.zero_grad(set_to_none=True)
        misses.mean().backward()
        self.adam.step()
        self.latents += BATCH
        return misses.detach()[:, :described].mean()


def _drawn(counted: range, shape: Shape) -> tuple[Tensor, Tensor, int]:
    """Latents; descriptions of their scenes in units of their spread, then zeros, as wide as w; how many are described.

    What w has beyond the description is asked to be quiet.
    """
    seeds = FIRST + np.arange(counted.start, counted.stop)
    mean, deviation = _spread()
    described = (describe(draw(seeds)) - mean) / deviation
    if described.shape[1] > shape.w or shape.z < NUMBERS:
        least = f"{NUMBERS} and {described.shape[1]}"
        raise RewriteError(f"z and w are {shape.z} and {shape.w} wide; a scene and its description need {least}")
    return latents(seeds, shape.z), F.pad(described, (0, shape.w - described.shape[1])), described.shape[1]


@cache
def _spread() -> tuple[Tensor, Tensor]:
    found = describe(draw(FIRST - 1 - np.arange(20_000)))
    return found.mean(0), found.std(0)
