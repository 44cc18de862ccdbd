"""Network dissection as davidbau/dissect does it: everything upsampled, two passes of the generator a layer or three.

Bau et al. 2020, "Understanding the role of individual units in a deep neural network".
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.units import World
from rewrite.units.features import Site, run
from rewrite.units.protocol import CHOOSING, PROTOCOLS, SCORING

POINTS = 64
"""A side, of the grid that labels are met on."""
TAIL = PROTOCOLS["dissect"].tail
PEAKS = 50
"""Images in a batch of the pass for the largest values; the others have as many as is usual there."""
UNCALLED = ("torchvision", "torchvision.transforms", "statsmodels.stats.correlation_tools")
"""What the published code imports, and calls nothing of here."""


@dataclass(frozen=True)
class Checkout:
    """The published code's modules."""

    tally: Any
    upsample: Any


def published(checkout: Checkout, generator: Generator, site: Site, judge: Segmenter, images: int) -> Tensor:
    """IoU (U, C) of one layer by the published code itself, run as its experiment runs it but for the pictures.

    A quantile sketch of all upsampled values, the images of the largest values, and the mean of what is on under each
    label; each is a pass of its own.
    """
    tally, size = checkout.tally, _size(generator)
    up = checkout.upsample.upsampler(size, data_shape=site.grid, image_size=size)
    see = partial(_seen, generator, site)

    def samples(rows: Tensor) -> Tensor:
        return rearrange(up(see(CHOOSING, rows.tolist())[0]), "n u h w -> (n h w) u")

    def peaks(rows: Tensor) -> Tensor:
        return see(SCORING, rows.tolist())[0].flatten(2).amax(2)

    every = torch.arange(images)
    level = tally.tally_quantile(samples, every, sample_size=images).quantiles(1 - TAIL)[:, None, None]
    tally.tally_topk(peaks, every, sample_size=images, batch_size=PEAKS)

    def conditional(rows: Tensor) -> Any:
        maps, made = see(SCORING, rows.tolist())
        # Label 0 stands for no label there.
        return tally.conditional_samples((up(maps) > level).float(), _labels(judge, made, size)[:, None] + 1)

    means = tally.tally_conditional_mean(conditional, every, sample_size=images)
    found = tally.iou_from_conditional_indicator_mean(means)[1:].T
    return F.pad(found, (0, len(judge.classes) - found.shape[1])).nan_to_num()


def idealised(generator: Generator, site: Site, judge: Segmenter, images: int, batch: int) -> Tensor:
    """IoU (U, C) of one layer by the published definition, in two passes and without the published bookkeeping.

    Thresholds are the exact 0.99 quantile of the upsampled values, which a sketch of them aims at; every label is met
    by every unit in one product of matrices.
    """
    size, concepts = _size(generator), len(judge.classes)
    blocks = [range(first, min(first + batch, images)) for first in range(0, images, batch)]

    def upsampled(stream: int, rows: Iterable[int]) -> tuple[Tensor, Tensor]:
        maps, made = _seen(generator, site, stream, rows)
        places = F.affine_grid(torch.eye(2, 3).expand(len(maps), 2, 3), [len(maps), 1, *size], align_corners=False)
        return F.grid_sample(maps, places, mode="bilinear", padding_mode="zeros", align_corners=False), made

    highest = torch.full((site.units, 0), 0.0)
    kept = max(1, round(TAIL * images * size[0] * size[1]))
    for block in blocks:
        highest = torch.cat([highest, rearrange(upsampled(CHOOSING, block)[0], "n u h w -> u (n h w)")], 1)
        highest = highest.topk(min(kept, highest.shape[1]), 1, sorted=False).values
    limit = highest.amin(1)
    both = torch.zeros(site.units, concepts, dtype=torch.float64)
    on_there, there = both.sum(1), both.sum(0)
    for block in blocks:
        maps, made = upsampled(SCORING, block)
        on = rearrange((maps > limit[:, None, None]).float(), "n u h w -> u (n h w)")
        marks = F.one_hot(_labels(judge, made, size).flatten(), concepts).float()
        both, on_there, there = (
            both + (on @ marks).double(),
            on_there + on.sum(1).double(),
            there + marks.sum(0).double(),
        )
    return both / (on_there[:, None] + there - both).clamp(min=1)


def _size(generator: Generator) -> tuple[int, int]:
    return (min(generator.resolution, POINTS),) * 2


def _seen(generator: Generator, site: Site, stream: int, rows: Iterable[int]) -> tuple[Tensor, Tensor]:
    """Features (N, U, h, w) of one layer, and the images."""
    heard: list[Tensor] = []
    world = World()
    made = run(
        generator, {site.layer.name: site}, world.styles(generator, stream, rows), world.noise,
        lambda _name, features: heard.append(features),
    )  # fmt: skip
    return heard[0], made


def _labels(judge: Segmenter, made: Tensor, size: tuple[int, int]) -> Tensor:
    """Label maps (N, h, w) at the points."""
    planes = rearrange(F.one_hot(label_maps(judge, made), len(judge.classes)).float(), "n h w c -> n c h w")
    return F.interpolate(planes, size, mode="bilinear").argmax(1)


def imported(folder: Path) -> Checkout:
    """What a clone of davidbau/dissect counts with; RewriteError if the folder is none."""
    for name in UNCALLED:
        with suppress(ImportError, RuntimeError):
            importlib.import_module(name)
            continue
        for path in (name.rsplit(".", i)[0] for i in range(name.count("."), -1, -1)):
            sys.modules.setdefault(path, _Absent(path))
    sys.path.insert(0, str(folder))
    try:
        modules = [importlib.import_module(f"netdissect.{name}") for name in ("tally", "upsample", "pbar")]
    except ImportError as error:
        raise RewriteError(
            f"{folder} is no checkout of davidbau/dissect ({error}); clone it, and give its folder"
        ) from None
    tally, upsample, bars = modules
    bars.quiet()
    return Checkout(tally, upsample)


class _Absent(types.ModuleType):
    """A module of which any name may be imported, and none works."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
