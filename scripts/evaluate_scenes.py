"""How good the built-in generator is, beside real scenes that it never saw.

python scripts/evaluate_scenes.py --out FOLDER                    the shipped generator
python scripts/evaluate_scenes.py --model FILE --out FOLDER       another

FOLDER receives figures.json, samples.png (64 samples that were not picked beside 64 real scenes) and neighbours.png
(samples, each with the training scenes nearest to it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scenes import CLASSES, render
from scenes.pairs import TRAINED
from torch import Tensor

import rewrite
from edits.file import write_atomically
from rewrite.concepts import Segmenter, labels, scenes
from rewrite.generator import Generator
from rewrite.perception import Extractor, Features, Moments, extractor, frechet_distance, prdc
from rewrite.report import sheets

HELD_OUT = 1_000_000
"""The first seed of scenes that no training saw."""
FLOOR = 1_500_000
"""The first seed of the others, which tell how far apart two sets of real scenes are."""
BATCH = 100
SHOWN = 64
COPIES = 8
"""Samples whose nearest training scenes are shown, and how many scenes each."""
SCARCE = 0.005
"""A class of fewer pixels is not held to its share."""
MANY = 15
"""Pixels from which on an image is said to show a class."""


def evaluate(
    out: Annotated[Path, typer.Option(help="A folder.")],
    model: Annotated[str, typer.Option(help="A model's name, or a checkpoint.")] = "scenes",
    samples: Annotated[int, typer.Option(help="Images of each kind.")] = 10_000,
    manifold: Annotated[int, typer.Option(help="Images for precision and recall.")] = 5_000,
    trained: Annotated[int, typer.Option(help="Training scenes among which neighbours are looked for.")] = 100_000,
    truncation: float = 1.0,
    threads: int = 2,
) -> None:
    """Distances, precision and recall, shares of the classes; two sheets."""
    torch.set_num_threads(threads)
    generator, segment, eye = rewrite.load(model), scenes.segmenter(), extractor("lite0@64/112")
    if (found := tuple(segment.classes)) != CLASSES:
        raise SystemExit(f"the segmenter knows {', '.join(found)}, and the renderer paints {', '.join(CLASSES)}")
    out.mkdir(parents=True, exist_ok=True)
    made, made_shares, made_shown = _seen(_sampled(generator, samples, truncation), eye, segment, "samples", samples)
    real, real_shares, real_shown = _seen(_painted(HELD_OUT, samples), eye, segment, "held-out scenes", samples)
    floor, *_ = _seen(_painted(FLOOR, samples), eye, segment, "other scenes", samples)
    kinds = {"samples": made, "other scenes": floor}
    figures = {
        "model": model,
        "truncation": truncation,
        "images": samples,
        "features": made.identity.short,
        "distance": {kind: frechet_distance(Moments.of(of), Moments.of(real)).value for kind, of in kinds.items()},
        "manifold": {kind: _manifold(real, of, manifold) for kind, of in kinds.items()},
        "classes": {
            name: {
                "real": float(real_shares[i]),
                "samples": float(made_shares[i]),
                "real images": float(real_shown[i]),
                "sampled images": float(made_shown[i]),
            }
            for i, name in enumerate(CLASSES)
        },
    }
    write_atomically(out / "figures.json", json.dumps(figures, indent=1).encode())
    _print(figures)
    beside = torch.stack([next(_sampled(generator, SHOWN, truncation)), next(_painted(HELD_OUT, SHOWN))])
    halves = [sheets.grid(half, size=96, across=8) for half in beside]
    sheets.save(_side_by_side(halves), out / "samples.png")
    chosen = next(_sampled(generator, COPIES, truncation))
    rows = [torch.cat([sample[None], near]) for sample, near in zip(chosen, _nearest(chosen, trained), strict=True)]
    sheets.save(sheets.sheet([(f"seed {i}", row) for i, row in enumerate(rows)], size=96), out / "neighbours.png")


def _sampled(generator: Generator, count: int, truncation: float) -> Iterator[Tensor]:
    for first in range(0, count, BATCH):
        z = generator.latents(range(first, min(first + BATCH, count)))
        with torch.no_grad():
            yield generator.synthesize(ws=generator.styles(z, truncation=truncation))


def _painted(first: int, count: int) -> Iterator[Tensor]:
    for start in range(first, first + count, BATCH):
        yield _floats(render(range(start, min(start + BATCH, first + count)))[0])


def _floats(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).float() / 127.5 - 1


def _seen(
    batches: Iterator[Tensor], eye: Extractor, segment: Segmenter, what: str, count: int
) -> tuple[Features, Tensor, Tensor]:
    """Features, share of the pixels of each class (K,), share of the images that show it (K,)."""
    features, pixels, shown = [], torch.zeros(len(CLASSES)), torch.zeros(len(CLASSES))
    for images in track(batches, what, total=-(-count // BATCH), console=Console(stderr=True)):
        features.append(eye.of([images]))
        counts = torch.stack([torch.bincount(map.flatten(), minlength=len(CLASSES)) for map in labels(segment, images)])
        pixels += counts.sum(0)
        shown += (counts >= MANY).sum(0)
    return Features.join(features), pixels / pixels.sum(), shown / count


def _manifold(real: Features, made: Features, count: int) -> dict[str, float]:
    found = prdc(real[:count], made[:count])
    return {name: getattr(found, name).value for name in ("precision", "recall", "density", "coverage")}


def _nearest(samples: Tensor, count: int) -> Tensor:
    """The training scenes nearest to each sample in pixels, (N, COPIES, 3, 64, 64)."""
    best = torch.full((len(samples), COPIES), torch.inf)
    scenes = torch.zeros(len(samples), COPIES, *samples.shape[1:])
    flat = samples.flatten(1)
    for images in track(_painted(TRAINED, count), "neighbours", total=-(-count // BATCH), console=Console(stderr=True)):
        apart = torch.cdist(flat, images.flatten(1))
        both, order = torch.cat([best, apart], dim=1).topk(COPIES, largest=False)
        known = torch.cat([scenes, images.expand(len(samples), *images.shape)], dim=1)
        best, scenes = both, known[torch.arange(len(samples))[:, None], order]
    return scenes


def _side_by_side(pictures: list) -> object:
    from PIL import Image

    whole = Image.new("RGB", (sum(p.width for p in pictures), max(p.height for p in pictures)), sheets.PAPER)
    for i, picture in enumerate(pictures):
        whole.paste(picture, (i * pictures[0].width, 0))
    return whole


def _print(figures: dict) -> None:
    console = Console()
    for kind, value in figures["distance"].items():
        console.print(f"FD-{figures['features']} of {figures['images']} {kind} to held-out scenes: {value:.3f}")
        console.print("  " + ", ".join(f"{name} {v:.3f}" for name, v in figures["manifold"][kind].items()))
    table = Table("class", "real %", "samples %", "ratio", "real images %", "sampled images %", "within a quarter")
    for name, of in figures["classes"].items():
        ratio = of["samples"] / of["real"] if of["real"] else float("nan")
        verdict = "-" if of["real"] < SCARCE else "yes" if 0.75 <= ratio <= 1.25 else "no"
        shown = [f"{100 * of[kind]:.2f}" for kind in ("real", "samples", "real images", "sampled images")]
        table.add_row(name, *shown[:2], f"{ratio:.2f}", *shown[2:], verdict)
    console.print(table)


if __name__ == "__main__":
    typer.run(evaluate)
