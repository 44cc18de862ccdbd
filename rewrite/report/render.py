"""Images of seeds, made one by one and shrunk at once: a hundred images of 1024 px take the memory of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import edits
from edits.finite import finite
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Noise
from rewrite.latents import Name
from rewrite.progress import Progress, quiet
from rewrite.report.sheets import check_room, levels, shrink

Applied = Sequence[tuple[edits.Edit, float | None]]
"""Edits with their strengths; None is the edit's own."""


def render(
    generator: Generator,
    seeds: Sequence[Name],
    size: int,
    *,
    truncation: float = 1.0,
    noise: Noise = "const",
    label: int | None = None,
    progress: Progress = quiet,
    what: str = "rendering",
) -> Tensor:
    """Images (N, 3, H, W) as bytes on the CPU, one a seed, their longer side `size` px, of the weights as they are.

    RewriteError if they are too many for one picture, or if one is not made of numbers.
    """
    check_room(len(seeds), size)
    labels = None if label is None else [label]
    images = []
    with torch.no_grad():
        for done, seed in enumerate(seeds):
            progress(what, done, len(seeds))
            ws = generator.styles(generator.latents([seed]), truncation=truncation, label=labels)
            image = generator.synthesize(ws=ws, noise=noise).cpu()
            if not finite(image):
                raise RewriteError(
                    f"the image of seed {seed} holds NaN or infinity where numbers were expected; lower the strength "
                    f"of the edits"
                )
            images.append(levels(shrink(image, size)))
    progress(what, len(seeds), len(seeds))
    return torch.cat(images)


def compared(
    generator: Generator,
    variants: Mapping[str, Applied],
    seeds: Sequence[Name],
    size: int,
    *,
    truncation: float = 1.0,
    noise: Noise = "const",
    label: int | None = None,
    progress: Progress = quiet,
) -> list[tuple[str, Tensor]]:
    """One row of images a variant, each under its edits, for a sheet; a variant without edits is the base."""
    check_room(len(seeds), size, len(variants))
    rows = []
    for name, applied in variants.items():
        with edits.applied(generator.module, *applied):
            images = render(
                generator, seeds, size,
                truncation=truncation, noise=noise, label=label, progress=progress, what=f"rendering {name}",
            )  # fmt: skip
        rows.append((name, images))
    return rows
