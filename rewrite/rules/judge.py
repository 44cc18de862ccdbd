"""The true layer decides: what a change does there, its gains recomputed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rewrite.background import HELD_OUT, natural
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer, State
from rewrite.memory import Change, gain, maps, respond, style_of
from rewrite.rules.evidence import Evidence

PROBE_IMAGES = 16
MOST_DRIFT = 0.5
MOST_BACKGROUND = 1.0
HALVINGS = 8


@dataclass(frozen=True)
class Measured:
    """What a change does at its layer."""

    residual: float
    """Masked residual after over before, ||r - dv|| / ||r||: 0 is the whole rule, 1 nothing."""
    background: float
    """Relative RMS change of the layer's output on natural images that took no part in solving."""
    drift: float
    """Mean |g1/g0 - 1| of the demodulation gains on natural styles; 0 where the layer has none."""
    objective: float
    """sum_p m_p ||r_p - dv_p||^2 + mu . sum_p m_p . E||dv||^2, gains recomputed."""


@dataclass(frozen=True)
class Judge:
    """Measures changes of one layer against one recipe's evidence."""

    layer: Layer
    weight: Tensor
    evidence: Evidence
    probe: Sequence[State]
    """Natural images held at the layer, outside the background that rules are solved with."""
    mu: float

    @cached_property
    def own_energy(self) -> float:
        """E||v||^2 over the probe, per output cell."""
        return own_energy(self.layer, self.weight, self.probe)

    def measure(self, change: Change) -> Measured:
        """The true figures of a change."""
        evidence = self.evidence
        after = values_after(self.layer, self.weight, evidence, change)
        mass, wanted = evidence.weight[:, None], evidence.target - evidence.value
        before_error = float((mass * wanted**2).sum())
        error = float((mass * (evidence.target - after) ** 2).sum())
        shift, drift = elsewhere(self.layer, self.weight, self.probe, change)
        total = error + self.mu * float(evidence.weight.sum()) * shift
        return Measured((error / before_error) ** 0.5, (shift / self.own_energy) ** 0.5, drift, total)

    def accept(self, change: Change) -> tuple[Change, float]:
        """The longest of the steps 1, 1/2, 1/4... that lowers the true objective within bounds, as it is stored."""
        evidence, step = self.evidence, 1.0
        start = float((evidence.weight[:, None] * (evidence.target - evidence.value) ** 2).sum())
        for _ in range(HALVINGS):
            tried = change.scaled(step).rounded()
            found = self.measure(tried)
            if found.objective < start and found.drift <= MOST_DRIFT and found.background <= MOST_BACKGROUND:
                return tried, step
            step /= 2
        raise RewriteError(
            f"no step of this rule makes {self.layer.name} better (at the smallest, background shift "
            f"{found.background:.2f}, gain drift {found.drift:.2f}); raise mu or nu, lower the rank, or try another "
            f"layer"
        )


def values_after(layer: Layer, weight: Tensor, evidence: Evidence, change: Change) -> Tensor:
    """Values (P, out) at the evidence's positions under a change, in units of each image's own gain at base."""
    after = evidence.value + response(evidence, change)
    if layer.gain is not None:
        after = after * _ratio(layer, weight, change, evidence.style)[evidence.example]
    return after


def response(evidence: Evidence, change: Change) -> Tensor:
    """dv (P, out) at the evidence's positions, gains aside."""
    return torch.einsum("ptr,ort->po", evidence.patches @ change.context.T, change.response.flatten(2))


def own_energy(layer: Layer, weight: Tensor, probe: Sequence[State]) -> float:
    """E||v||^2 of a canonical weight over natural images held at the layer, per output cell."""
    return _mean_square(respond(layer, state.key.cpu(), weight.float()) for state in probe)


def elsewhere(layer: Layer, weight: Tensor, probe: Sequence[State], change: Change) -> tuple[float, float]:
    """What a change does to natural images held at the layer: E||dv||^2 per output cell, and the drift of gains."""
    read, moved = change.context.float(), change.response.float()

    def shift(state: State) -> Tensor:
        key = maps(state.key).cpu()
        return respond(layer, torch.einsum("ri,nihw->nrhw", read, key), moved)

    if layer.gain is None:
        return _mean_square(map(shift, probe)), 0.0
    ratios = [_ratio(layer, weight, change, style_of(state)) for state in probe]
    drift = float(torch.cat([(ratio - 1).abs() for ratio in ratios]).mean())

    def gained(state: State, ratio: Tensor) -> Tensor:
        before = respond(layer, state.key.cpu(), weight.float())
        factor = ratio[:, :, None, None].float()
        return before * (factor - 1) + shift(state) * factor

    return _mean_square(map(gained, probe, ratios)), drift


def probe(generator: Generator, layer: Layer, truncation: float) -> list[State]:
    """Natural images held at a layer, of the stream that no background is taken over."""
    return [
        natural(generator, layer, HELD_OUT, range(row, row + 1), truncation=truncation) for row in range(PROBE_IMAGES)
    ]


def _ratio(layer: Layer, weight: Tensor, change: Change, style: Tensor | None) -> Tensor:
    """g1/g0 per image and output channel (N, out)."""
    before, after = gain(layer, weight, style), gain(layer, weight + change.dense(), style)
    if before is None or after is None:
        raise RewriteError(f"{layer.name} has no gain to compare; measure its response alone")
    return after / before


def _mean_square(values: Iterable[Tensor]) -> float:
    """Mean over images and cells of the squared norm over channels."""
    total, cells = 0.0, 0
    for value in values:
        total += float(value.double().square().sum())
        cells += value[:, 0].numel()
    return total / cells
