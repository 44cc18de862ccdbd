"""One wish, followed in every way: by rules of few directions and of all, by descents, by pasting pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from scenes.wishes import Wish, propose

import rewrite
from reproduction.baselines import all_weights, blend, direct
from reproduction.request import Request
from reproduction.turned import Stage, Turned, nothing
from rewrite.concepts import Segmenter
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.rules.gradient import descend

T = TypeVar("T")
POOL = range(10_000, 11_000)
"""Seeds among which objects are looked for, where no recipe is given: none of the held-out ones."""
USUAL: dict[str, Any] = {"layer": "synthesis.b16.conv1", "mu": 0.1, "nu": 1.0, "fit": "stretch"}
PASTES = 12


def wanted(generator: Generator, segment: Segmenter, wish: Wish, *, pool: range = POOL) -> dict[str, Any]:
    """A recipe for a wish, where none is given."""
    return USUAL | propose(generator, segment, wish, pool, pastes=PASTES)


def methods(
    stage: Stage, recipe: dict[str, Any], *, rank: int, steps: int, all_steps: int, full_rank_descent: bool = True
) -> Iterator[Turned]:
    """Each method's outcome in turn; the published descent at the same rank and context as the rule."""
    generator, request = stage.generator, Request.of(stage.generator, recipe)
    recipe = {name: value for name, value in recipe.items() if name not in ("rank", "method", "steps")}
    fixed = recipe | {name: USUAL[name] for name in ("mu", "nu") if recipe.get(name, "auto") == "auto"}
    yield stage.blended("nothing", nothing, 0.0)
    ranks: dict[str, int | str] = {f"rule, rank {rank}": rank, "rule, rank unlimited": "full"}
    for name, limit in ranks.items():
        yield stage.edited(name, *_timed(lambda limit=limit: rewrite.rule(generator, fixed | {"rank": limit})))
    placed, base = request.evidence.placed, (request.layer, request.weight)
    for limit in (rank, None) if full_rank_descent else (rank,):
        read = request.context(limit)
        change, seconds = _timed(lambda read=read: descend(*base, placed, read, steps=steps))
        kind = f"rank {rank}" if limit else "rank unlimited"
        yield stage.edited(f"projected descent, {kind}, {steps} steps", request.edit(change), seconds)
    change, seconds = _timed(lambda: direct(request, rank, steps))
    yield stage.edited(f"direct, rank {rank}, {steps} steps", request.edit(change), seconds)
    label = stage.segment.classes.index(stage.source)
    try:
        pasted, seconds = _timed(lambda: blend(generator, request.recipe, label, stage.seeds))
        yield stage.blended("pixels blended", pasted, seconds)
        edit, seconds = _timed(lambda: all_weights(generator, request.recipe, all_steps))
        yield stage.edited(f"all weights, {all_steps} steps", edit, seconds)
    except RewriteError:
        # An erase copies no pixels.
        return


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started
