"""Counting: natural images pass by, and a layer's keys are summed up."""

from __future__ import annotations

import torch
from torch import Tensor

from rewrite.background import cache as cached
from rewrite.background import shipped
from rewrite.background.world import Background, conditions, nothing
from rewrite.generator import Generator, Layer, Noise, State
from rewrite.latents import Row
from rewrite.memory import maps, style_of
from rewrite.progress import Progress, quiet

STREAM = 1
"""Background latents are rows of this stream, as in Rewriting: a recipe that names seeds shares none of them."""
HELD_OUT = 2
"""The stream that judges what was solved on the other one."""
BATCH = 8


def background(
    generator: Generator,
    layer: Layer,
    *,
    samples: int,
    stream: int = STREAM,
    truncation: float = 1.0,
    noise: Noise = "const",
    cache: bool = True,
    progress: Progress = quiet,
) -> Background:
    """Background of a layer over rows 0 to samples - 1 of a stream.

    Statistics that came with the model are taken as they are, on any machine. An interrupted run leaves what it has
    counted so far and goes on from there the next time, to the same bits. Without `cache` all is counted here.
    """
    wanted = conditions(generator, layer, samples, stream, truncation, noise)
    if cache and (found := shipped.read(generator.statistics, layer, wanted)):
        return found
    path = cached.place(generator, wanted, _witness(generator, layer, stream))
    counted = cached.read(path, layer) if cache else nothing(layer)
    started = counted.moments.images
    try:
        while counted.moments.images < samples:
            done = counted.moments.images
            progress(f"moments of {layer.name}", done, samples)
            rows = range(done, min(done + BATCH, samples))
            state = natural(generator, layer, stream, rows, truncation=truncation, noise=noise)
            counted = _add(counted, state)
    finally:
        if cache and counted.moments.images > started:
            cached.write(path, counted)
    progress(f"moments of {layer.name}", samples, samples)
    style = counted.style_square
    return Background(counted.moments, None if style is None else style / samples)


def natural(
    generator: Generator, layer: Layer, stream: int, rows: range, *, truncation: float, noise: Noise = "const"
) -> State:
    """Natural images held at a layer: rows of a stream, going round the classes of a conditional model."""
    label = [row % generator.classes for row in rows] if generator.classes else None
    with torch.no_grad():
        z = generator.latents(Row(stream, row) for row in rows)
        ws = generator.styles(z, truncation=truncation, label=label)
        return generator.run_to(layer, ws=ws, noise=noise)


def _add(counted: Background, state: State) -> Background:
    """Sums with the images of a held pass counted in (here `style_square` is a sum as well)."""
    style, total = style_of(state), counted.style_square
    return Background(
        counted.moments.add(maps(state.key)),
        total if style is None or total is None else total + (style**2).sum(0),
    )


def _witness(generator: Generator, layer: Layer, stream: int) -> Tensor | None:
    """What a wrapped network really does: its weights do not tell its activations, nor how its latents are drawn."""
    if generator.network is None:
        return None
    return natural(generator, layer, stream, range(1), truncation=1.0).key
