"""Train the segmenter of the built-in scenes on the renderer's labels.

python scripts/train_segmenter.py train --out rewrite/concepts/scenes.safetensors
python scripts/train_segmenter.py evaluate --file rewrite/concepts/scenes.safetensors --scenes 10000

Scenes are rendered as needed: 0, 1, 2, ... to train on, each once; 1,000,000, 1,000,001, ... to measure on.
On one thread the same command gives the same file, unless the plan is in minutes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from einops import rearrange
from rich.console import Console
from rich.table import Table
from scenes import CLASSES, render
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rewrite.concepts import Confusion, Segmenter, labels
from rewrite.concepts.scenes import Block, Facts, HeldOut, SceneSegmenter, UNet, segmenter, write
from rewrite.errors import RewriteError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(width=100, highlight=False)
HELD_OUT = 1_000_000
"""The first scene that is never trained on."""
SMALL = 256
"""Scenes of the first held-out stretch: few enough to be measured again in a test."""
PARITY = 0.999
"""Share of pixels that must be labelled alike for weights to be stored in half precision."""
CHUNK = 100
"""Scenes labelled between renderings."""
WARM, DECAY = 0.05, 0.7
"""Shares of the plan: the learning rate rises over the first, and falls to nothing over the last."""
REACH = 8
"""Pixels by which a scene is moved at most, each way."""
SPARED = 0.4
"""Share of images that are left where they are, and of those whose pixels are left as they are."""


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The segmenter's file.")],
    images: Annotated[int, typer.Option(help="The plan: scenes to train on.")] = 36_000,
    minutes: Annotated[float | None, typer.Option(help="Or minutes, where they are over before.")] = None,
    widths: Annotated[str, typer.Option(help="Channels at 32, 16 and 8 px.")] = "32,64,80",
    batch: int = 32,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 0.008,
    seed: Annotated[int, typer.Option(help="Of the weights, and of what is done to images.")] = 0,
    held_out: Annotated[int, typer.Option(help="Scenes to measure the result on.")] = 10_000,
    log_every: Annotated[int, typer.Option(help="Steps between lines.")] = 100,
) -> None:
    """Train, measure on held-out scenes, and write the file."""
    if images > HELD_OUT:
        raise RewriteError(f"{images} scenes to train on would reach the held-out ones; give {HELD_OUT} at most")
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    draws = torch.Generator().manual_seed(seed)
    fine, middle, coarse = map(int, widths.split(","))
    network = normed(UNet(len(CLASSES), (fine, middle, coarse))).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    began, seen, steps = time.monotonic(), 0, 0
    while True:
        spent = (time.monotonic() - began) / 60
        progress = max(seen / images, spent / minutes if minutes else 0.0)
        if progress >= 1:
            break
        optimiser.param_groups[0]["lr"] = rate * min(1, (progress + batch / images) / WARM, (1 - progress) / DECAY)
        scenes, truth = shifted(*painted(range(seen, min(seen + batch, images))), draws)
        loss = F.cross_entropy(network(softened(scenes, draws)), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen, steps = seen + len(scenes), steps + 1
        if steps % log_every == 0:
            console.print(f"{seen} scenes in {spent:.1f} minutes, loss {loss:.3f}")
    training: dict[str, int | float | str] = {
        "script": "scripts/train_segmenter.py",
        "scenes": seen,
        "batch": batch,
        "rate": rate,
        "seed": seed,
        "torch": torch.__version__,
    }
    facts = Facts(classes=CLASSES, widths=(fine, middle, coarse), training=training, held_out=())
    write(out, *finished(SceneSegmenter(folded(network), facts), held_out))
    console.print(table(segmenter(out).confusion))
    console.print(f"{out}: {out.stat().st_size} bytes")


@app.command()
def evaluate(
    file: Annotated[Path, typer.Option(help="The segmenter's file.")],
    scenes: Annotated[int, typer.Option(help="How many held-out scenes.")] = 10_000,
) -> None:
    """Measure a segmenter's file anew on held-out scenes."""
    torch.set_num_threads(1)
    tested = segmenter(file)
    found = measured(tested, range(HELD_OUT, HELD_OUT + scenes))
    console.print(table(found))
    console.print(f"mean IoU {found.mean_iou:.4f}; the file says {tested.confusion.mean_iou:.4f}")


def painted(seeds: range) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 64, 64) in [-1, 1], channels last, and labels (N, 64, 64) int64."""
    images, truth = render(seeds)
    floats = torch.from_numpy(images).contiguous(memory_format=torch.channels_last).float() / 127.5 - 1
    return floats, torch.from_numpy(truth.astype(np.int64))


def shifted(images: Tensor, truth: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Most scenes a little off, each with its labels and its edges drawn out: no class is known by its place alone."""
    count, _, height, width = images.shape
    down, right = torch.randint(-REACH, REACH + 1, (2, count, 1), generator=draws)
    moved = torch.rand(count, 1, generator=draws) >= SPARED
    rows = (torch.arange(height) - down * moved).clamp(0, height - 1)[:, :, None]
    columns = (torch.arange(width) - right * moved).clamp(0, width - 1)[:, None, :]
    each = torch.arange(count)[:, None, None]
    return rearrange(images[each, :, rows, columns], "n h w c -> n c h w"), truth[each, rows, columns]


def softened(images: Tensor, draws: torch.Generator) -> Tensor:
    """Most images as a generator might paint them: blurred or with halos, grained, off in colour; the labels stay."""

    def each(low: float, high: float, channels: int = 1) -> Tensor:
        """Uniform, one number an image and channel."""
        return low + (high - low) * torch.rand(len(images), channels, 1, 1, generator=draws)

    binomial = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = torch.outer(binomial, binomial).expand(3, 1, 5, 5)
    blurred = F.conv2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), kernel, groups=3)
    changed = images.lerp(blurred, each(-0.4, 1.0))
    changed = changed * each(0.85, 1.15) * each(0.92, 1.08, 3) + each(-0.08, 0.08, 3)
    changed = changed + each(0.0, 0.06) * torch.randn(images.shape, generator=draws)
    return torch.where(each(0.0, 1.0) < SPARED, images, changed).contiguous(memory_format=torch.channels_last)


def normed(network: UNet) -> UNet:
    """With batch normalisation in every block, which a training this short needs."""
    for block in _blocks(network):
        block.norm = nn.BatchNorm2d(block.conv.out_channels)
    return network


def folded(network: UNet) -> UNet:
    """A copy in evaluation mode whose normalisation is part of the convolutions."""
    plain = copy.deepcopy(network).eval().requires_grad_(False)
    for block in _blocks(plain):
        if isinstance(block.norm, nn.BatchNorm2d):
            block.conv, block.norm = fuse_conv_bn_eval(block.conv, block.norm), nn.Identity()
    return plain


def finished(trained: SceneSegmenter, scenes: int) -> tuple[SceneSegmenter, torch.dtype]:
    """The segmenter as it will be read, measured on so many held-out scenes, and the type to store it in.

    Half precision, unless it changes more than one label in a thousand.
    """
    rounded = SceneSegmenter(copy.deepcopy(trained.network).half().float(), trained.facts)
    both = Confusion.empty(trained.classes)
    for images, _ in _held_out(range(HELD_OUT, HELD_OUT + min(scenes, 2_000))):
        both = both.add(labels(trained, images), labels(rounded, images))
    kept, dtype = (rounded, torch.float16) if both.accuracy >= PARITY else (trained, torch.float32)
    first = range(HELD_OUT, HELD_OUT + min(SMALL, scenes))
    stretches = [first, range(first.stop, HELD_OUT + scenes)]
    parts = [
        HeldOut(first=seeds.start, scenes=len(seeds), counts=tuple(map(tuple, measured(kept, seeds).counts.tolist())))
        for seeds in stretches
        if seeds
    ]
    training = trained.facts.training | {"labels kept in half precision": round(both.accuracy, 6)}
    facts = trained.facts.model_copy(update={"training": training, "held_out": tuple(parts)})
    return SceneSegmenter(kept.network, facts), dtype


def measured(tested: Segmenter, seeds: range) -> Confusion:
    """What a segmenter makes of these scenes."""
    found = Confusion.empty(CLASSES)
    for images, truth in _held_out(seeds):
        found = found.add(truth, labels(tested, images))
    return found


def table(found: Confusion) -> Table:
    """Each class: how common it is, how well it is found, and what it is most often taken for."""
    made = Table("class", "% of pixels", "% predicted", "IoU", "most often taken for")
    mistaken = found.counts - found.counts.diag().diag()
    for i, name in enumerate(found.classes):
        other = int(mistaken[i].argmax())
        made.add_row(
            name,
            f"{100 * found.true_shares[i]:.2f}",
            f"{100 * found.predicted_shares[i]:.2f}",
            f"{found.iou[i]:.3f}",
            f"{found.classes[other]} ({100 * mistaken[i, other] / found.counts[i].sum():.1f} %)",
        )
    made.caption = f"{found.pixels} pixels: {100 * found.accuracy:.2f} % right, mean IoU {found.mean_iou:.4f}"
    return made


def _held_out(seeds: range) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(seeds.start, seeds.stop, CHUNK):
        yield painted(range(start, min(start + CHUNK, seeds.stop)))


def _blocks(network: UNet) -> list[Block]:
    return [module for module in network.modules() if isinstance(module, Block)]


if __name__ == "__main__":
    app()
