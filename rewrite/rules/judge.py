"""The true layer decides: what a change does there, its gains recomputed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.background import Background, natural
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer, State
from rewrite.memory import Change, change_energy, expected_energy, gain, respond, style_of
from rewrite.rules.evidence import Evidence

PROBE_STREAM = 2
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
    """Relative RMS change of the layer's output on natural keys."""
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
    world: Background
    probe: Sequence[State]
    """Forward passes held at the layer, on latents outside every recipe; none needed where there is no gain."""
    mu: float

    def measure(self, change: Change) -> Measured:
        """The true figures of a change."""
        evidence = self.evidence
        read = evidence.patches @ change.context.T
        moved = torch.einsum("ptr,ort->po", read, change.response.flatten(2))
        after = evidence.value + moved
        if self.layer.gain is not None:
            after = after * self._ratio(change, evidence.style)[evidence.example]
        mass, wanted = evidence.weight[:, None], evidence.target - evidence.value
        before_error = float((mass * wanted**2).sum())
        error = float((mass * (evidence.target - after) ** 2).sum())
        shift, own, drift = self._elsewhere(change)
        total = error + self.mu * float(evidence.weight.sum()) * shift
        return Measured((error / before_error) ** 0.5, (shift / own) ** 0.5, drift, total)

    def accept(self, change: Change) -> tuple[Change, float, Measured]:
        """The longest of the steps 1, 1/2, 1/4... that lowers the true objective within bounds, and its figures."""
        start = self.measure(change.scaled(0.0)).objective
        step = 1.0
        for _ in range(HALVINGS):
            tried = change.scaled(step).rounded()
            found = self.measure(tried)
            if found.objective < start and found.drift <= MOST_DRIFT and found.background <= MOST_BACKGROUND:
                return tried, step, found
            step /= 2
        raise RewriteError(
            f"no step of this rule makes {self.layer.name} better (at the smallest, background shift "
            f"{found.background:.2f}, gain drift {found.drift:.2f}); raise mu or nu, lower the rank, or try another"
            f" layer"
        )

    def _ratio(self, change: Change, style: Tensor | None) -> Tensor:
        """g1/g0 per image and output channel (N, out)."""
        before = gain(self.layer, self.weight, style)
        after = gain(self.layer, self.weight + change.dense(), style)
        if before is None or after is None:
            raise RewriteError(f"{self.layer.name} has no gain to compare; measure its response alone")
        return after / before

    def _elsewhere(self, change: Change) -> tuple[float, float, float]:
        """E||dv||^2, E||v||^2 per output cell, and the drift of gains."""
        if self.layer.gain is None:
            moments = self.world.moments
            own = expected_energy(self.layer, moments, self.weight)
            return change_energy(self.layer, moments, change), own, 0.0
        edited = (self.weight + change.dense()).float()
        shift, own, drift, cells = 0.0, 0.0, 0.0, 0
        for state in self.probe:
            ratio = self._ratio(change, style_of(state))
            before = respond(self.layer, state.key.cpu(), self.weight.float())
            after = respond(self.layer, state.key.cpu(), edited) * ratio[:, :, None, None]
            shift += float(((after - before) ** 2).sum())
            own += float((before.double() ** 2).sum())
            drift += float((ratio - 1).abs().mean()) / len(self.probe)
            cells += before[:, 0].numel()
        return shift / cells, own / cells, drift


def probe(generator: Generator, layer: Layer, truncation: float) -> list[State]:
    """Forward passes held at a layer with a gain, on latents that no recipe and no background uses."""
    if layer.gain is None:
        return []
    return [
        natural(generator, layer, PROBE_STREAM, range(row, row + 1), truncation=truncation)
        for row in range(PROBE_IMAGES)
    ]
