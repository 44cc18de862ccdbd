"""Every distance for every perturbation, on the same seeds, held against seeds that nobody else uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from reproduction import draw
from reproduction.harm import ANCHOR, Perturbation
from reproduction.sheet import between, short
from rewrite.check.gate import HELD_OUT
from rewrite.check.look import LEVELS, View, distances
from rewrite.generator import Generator
from rewrite.perception import Features, Figure, Moments, frechet_distance, paired_kid, prdc

PAIRS = 250
"""Pairs that a perceptual distance is measured on."""
BATCH = 50
MANIFOLD = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Row:
    """One perturbation. Intervals are of 95 %, over seeds."""

    name: str
    kernel: float
    """Paired kernel distance, of features standardised by held-out seeds."""
    kernel_interval: tuple[float, float]
    harm: float
    """The same in units of JPEG-95."""
    harm_interval: tuple[float, float]
    frechet: float
    """To the base's images of the same seeds."""
    frechet_held: float
    """To the base's images of held-out seeds."""
    frechet_change: float
    """How much of that the perturbation adds, over the trace of the covariance."""
    manifold: dict[str, float]
    """Against held-out seeds."""
    change: float
    """Mean change of a pixel, in levels of 255."""
    tone: float
    """Mean shift of an image's mean colour, in levels."""
    distance: float
    """Mean perceptual distance,"""
    distance_interval: tuple[float, float]

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def cells(self) -> list[str]:
        return [
            self.name,
            short(1000 * self.kernel),
            between(*(1000 * end for end in self.kernel_interval)),
            short(self.harm),
            between(*self.harm_interval),
            short(self.frechet),
            short(self.frechet_held),
            short(100 * self.frechet_change, 2),
            *(f"{self.manifold[name]:.3f}" for name in MANIFOLD),
            short(self.change, 2),
            short(self.tone, 2),
            short(self.distance),
        ]


COLUMNS = (
    "perturbation", "paired KD e-3", "95 %", "harm", "95 %", "FD same seeds", "FD held-out", "dFD/trS %",
    "P", "R", "D", "C", "change", "tone", "distance",
)  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """What all rows share: the base's images, and figures of these, of their JPEG files and of held-out seeds."""

    generator: Generator
    view: View
    seeds: range
    images: Tensor
    held: Features
    base: Features
    anchor: Figure
    """Paired kernel distance of the base to its JPEG-95 files."""
    before: Moments
    """Of the base's features,"""
    reference: Moments
    """and of those of held-out seeds."""
    null: Figure
    """Fréchet distance of the two: what two draws of seeds are apart."""

    @staticmethod
    def of(generator: Generator, view: View, samples: int) -> Ground:
        seeds = range(samples)
        images = draw.images(generator, seeds)
        held = _features(view, draw.images(generator, range(HELD_OUT, HELD_OUT + samples)))
        base = _features(view, images)
        pictures = _features(view, ANCHOR.images(generator, seeds, images))
        anchor = paired_kid(_scaled(base, held), _scaled(pictures, held))
        before, reference = Moments.of(base), Moments.of(held)
        null = frechet_distance(before, reference)
        return Ground(generator, view, seeds, images, held, base, anchor, before, reference, null)

    @property
    def facts(self) -> dict[str, Any]:
        """The conditions, and what is measured where nothing is perturbed."""
        shape = prdc(self.held, self.base)
        return {
            "model": self.generator.name or self.generator.architecture,
            "eye": str(self.base.identity),
            "distance": str(self.view.distance_identity(self.generator)),
            "samples": len(self.seeds),
            "pairs": min(PAIRS, len(self.seeds)),
            "held-out seeds from": HELD_OUT,
            "null FD": self.null.value,
            "trace of covariance": self.reference.spread,
            "null manifold": {name: getattr(shape, name).value for name in MANIFOLD},
        }

    def row(self, perturbation: Perturbation) -> Row:
        """All figures of one perturbation."""
        made = perturbation.images(self.generator, self.seeds, self.images)
        seen = _features(self.view, made)
        kernel = paired_kid(_scaled(self.base, self.held), _scaled(seen, self.held))
        harm = kernel.over(self.anchor)
        after = Moments.of(seen)
        held = frechet_distance(after, self.reference)
        shape = prdc(self.held, seen)
        shift = (made - self.images) * LEVELS
        apart = distances(self.view, self.images[:PAIRS], made[:PAIRS])[0].double()
        mean, reach = float(apart.mean()), 1.96 * float(apart.std()) / len(apart) ** 0.5
        return Row(
            name=perturbation.name,
            kernel=kernel.value,
            kernel_interval=_ends(kernel),
            harm=harm.value,
            harm_interval=_ends(harm),
            frechet=frechet_distance(self.before, after).value,
            frechet_held=held.value,
            frechet_change=held.minus(self.null).value / self.reference.spread,
            manifold={name: getattr(shape, name).value for name in MANIFOLD},
            change=float(shift.abs().mean()),
            tone=float(shift.mean((2, 3)).abs().mean()),
            distance=mean,
            distance_interval=(mean - reach, mean + reach),
        )


def table(ground: Ground, perturbations: Iterable[Perturbation]) -> Iterator[Row]:
    """A row each."""
    yield from map(ground.row, perturbations)


def _features(view: View, images: Tensor) -> Features:
    return view.eye.of(images.split(BATCH))


def _scaled(features: Features, held: Features) -> Features:
    return features.standardised(held, "held-out base")


def _ends(figure: Figure) -> tuple[float, float]:
    return figure.interval or (figure.value, figure.value)
