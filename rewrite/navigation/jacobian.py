"""How images answer to a small change of one layer's weight, for many changes at once.

One forward pass serves a whole block: the derivative along k changes is pushed through the layers after the layer by
forward differentiation, and pulled back by reverse differentiation (no step size, nothing approximated).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap

from rewrite.generator import Flow, Generator, Layer, Noise
from rewrite.navigation.metric import Metric
from rewrite.navigation.subspace import Subspace
from rewrite.navigation.where import Where

PIXELS = 2**15
"""Of the images of one batch, about."""
TANGENT_PIXELS = 2**21
"""Of the images of one chunk of tangents, about."""
MOST_AT_ONCE = 32
COLUMNS = 2**16
"""Of embeddings, that are widened to float64 at once."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The images of some seeds as a function of one layer's weight, seen by a metric."""

    generator: Generator
    layer: Layer
    metric: Metric
    seeds: tuple[int, ...]
    truncation: float = 1.0
    noise: Noise = "const"
    region: Where | None = None

    @property
    def weight(self) -> Tensor:
        """The stored weight."""
        return self.generator.module.state_dict()[self.layer.weight].detach()

    def batches(self) -> list[tuple[int, ...]]:
        """The seeds, so many at a time as a batch holds."""
        at_once = max(1, min(8, PIXELS // self.generator.resolution**2))
        return [self.seeds[first : first + at_once] for first in range(0, len(self.seeds), at_once)]

    def products(self, space: Subspace, vectors: Tensor, seeds: Sequence[int]) -> Tensor:
        """Sum over these seeds of J' J v (k, d) float64, of coefficients v (k, d); J the embedding's derivative."""
        seen = self._seen(seeds)
        back = vjp(seen, self.weight)[1]
        found = []
        for tangents in self._pushed(seen, space, vectors):
            pulled = vmap(lambda tangent: back(tangent)[0])(tangents)
            found.append(space.coefficients(pulled.double().cpu()))
        return torch.cat(found)

    def gram(self, space: Subspace, vectors: Tensor, seeds: Sequence[int]) -> Tensor:
        """Sum over these seeds of (J v)' (J v), (k, k) float64."""
        seen = self._seen(seeds)
        pushed = torch.cat([tangents.flatten(1) for tangents in self._pushed(seen, space, vectors)])
        wide = (part.double() for part in pushed.split(COLUMNS, 1))
        return sum((part @ part.T for part in wide), pushed.new_zeros((), dtype=torch.float64)).cpu()

    def images(self, weight: Tensor, flow: Flow) -> Tensor:
        """Images (N, 3, H, W) of the layer with that weight and all after it, of a flow that enters its stage."""
        held = _Held(self.generator, self.layer.stage)
        found: Tensor = functional_call(held, {f"module.{self.layer.weight}": weight}, (flow,))
        return found

    def flow(self, seeds: Sequence[int]) -> Flow:
        """What enters the layer's stage, of these seeds."""
        with torch.no_grad():
            ws = self.generator.styles(self.generator.latents(seeds), truncation=self.truncation)
            before = islice(self.generator.flows(ws=ws, noise=self.noise), self.layer.stage)
            return deque(before, maxlen=1).pop() if self.layer.stage else self.generator.begin(ws=ws, noise=self.noise)

    def _seen(self, seeds: Sequence[int]) -> _Seen:
        flow, coverage = self.flow(seeds), None
        if self.region is not None:
            with torch.no_grad():
                coverage = self.region(self.metric.downsized(self.generator.finish(flow, self.layer.stage)))
        return _Seen(self, flow, coverage)

    def _pushed(self, seen: _Seen, space: Subspace, vectors: Tensor) -> Iterator[Tensor]:
        """J v, (k, N, F) a chunk."""
        weight = self.weight
        at_once = max(2, min(MOST_AT_ONCE, TANGENT_PIXELS // (len(seen.flow.ws) * self.generator.resolution**2)))
        for chunk in vectors.split(at_once):
            changes = space.changes(chunk).to(weight)
            yield vmap(lambda change: jvp(seen, (weight,), (change,))[1])(changes)


@dataclass(frozen=True, eq=False)
class _Seen:
    """The embedding (N, F) of one batch's images as a function of the weight."""

    answer: Answer
    flow: Flow
    coverage: Tensor | None

    def __call__(self, weight: Tensor) -> Tensor:
        return self.answer.metric.embed(self.answer.images(weight, self.flow), self.coverage)


class _Held(nn.Module):
    """A generator from one stage on, as a module, so that a weight of it can be put in as an argument."""

    def __init__(self, generator: Generator, stage: int):
        super().__init__()
        self.module, self.generator, self.stage = generator.module, generator, stage

    def forward(self, flow: Flow) -> Tensor:
        return self.generator.finish(flow, self.stage)
