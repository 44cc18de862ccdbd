"""Units that go with images which look unreal: the distance to real scenes with them silenced, and with others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from scenes.render import render

from reproduction.sheet import short
from rewrite.generator import Generator
from rewrite.perception import Extractor, Features
from rewrite.units.artifacts import Cleaning, cleaned, suspects

REAL = 1_000_000
"""The first seed of the scenes that stand for what is real: no training saw them."""
BATCH = 100
COLUMNS = ("layer", "units", "rank correlation", "as it is", "without them", "without as many by lot")


@dataclass(frozen=True)
class Cleaned:
    """The distance before and after, and how the weakest of the units goes with a lack of realism (Spearman)."""

    cleaning: Cleaning
    correlation: float

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def cells(self) -> list[str]:
        found = self.cleaning
        lots = torch.tensor([one.value for one in found.controls])
        return [
            found.layer, str(len(found.after.units)), short(self.correlation), short(found.before, 4),
            short(found.after.value, 4), f"{short(float(lots.mean()), 4)} +- {short(float(lots.std()), 2)}",
        ]  # fmt: skip


def real_scenes(eye: Extractor, count: int) -> Features:
    """Features of painted scenes that the generator never saw."""
    images = torch.from_numpy(render(range(REAL, REAL + count))[0]).float() / 127.5 - 1
    return eye.of(images.split(BATCH))


def cleanings(
    generator: Generator, layers: Sequence[str], counts: Sequence[int], eye: Extractor, samples: int
) -> Iterator[Cleaned]:
    """So many units of each layer, those that go most with a lack of realism; found and measured on other latents."""
    real = real_scenes(eye, samples)
    for layer in layers:
        ranked = suspects(generator, layer, real, eye, samples=samples)
        for count in counts:
            chosen = ranked[:count]
            found = cleaned(generator, layer, [one.unit for one in chosen], real, eye, samples=samples)
            yield Cleaned(found, chosen[-1].correlation)
