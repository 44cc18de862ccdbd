"""A thing that nobody asked for, taken away: by silencing the units that are loudest there, or by a rule."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import rewrite
from reproduction import draw
from reproduction.request import Request
from reproduction.turned import Stage, Turned, nothing
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.ranking import by_energy

UNITS = (10, 20, 30, 60)


def removals(stage: Stage, recipe: dict[str, Any], counts: Sequence[int] = UNITS) -> Iterator[Turned]:
    """Units of the recipe's layer, ranked where the recipe paints, zeroed; then the recipe itself, as a rule."""
    request = Request.of(stage.generator, recipe)
    maker, expected = _maker(stage.generator, request.layer), request.world.moments.at((0, 0)).diagonal()
    ranked = by_energy(request.evidence.context_keys, request.evidence.context_weight, expected).tolist()
    yield stage.blended("nothing", nothing, 0.0)
    for count in counts:
        if count < len(ranked):
            started = time.perf_counter()
            edit = draw.zeroed(stage.generator, maker, ranked[:count])
            yield stage.edited(f"{count} units of {maker.name} zeroed", edit, time.perf_counter() - started)
    started = time.perf_counter()
    edit = rewrite.rule(stage.generator, recipe)
    yield stage.edited(f"rule, rank {recipe.get('rank', 'auto')}", edit, time.perf_counter() - started)


def _maker(generator: Generator, reader: Layer) -> Layer:
    """The layer whose outputs, and nothing else, `reader` reads; RewriteError where that is not one layer."""
    before = list(generator.layers.values())[: list(generator.layers).index(reader.name)]
    makers = [layer for layer in before if layer.refuses is None and layer.out_features > 3]
    if not makers or makers[-1].out_features != reader.in_features:
        raise RewriteError(f"no layer before {reader.name} makes what it reads, so its units cannot be zeroed there")
    return makers[-1]
