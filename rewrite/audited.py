"""An audit, written down: all figures, and a page with what units are most on for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import edits
from rewrite.generator import Generator
from rewrite.progress import Progress, quiet
from rewrite.report.audit import Shot, audit_page, outline
from rewrite.report.page import save_page
from rewrite.report.sheets import levels, pictures, shrink
from rewrite.units.features import World
from rewrite.units.protocol import SCORING
from rewrite.units.result import Audit, Seen, Unit

SHOWN = 4
"""Images on a card."""
PICTURES = 400
"""Images on the page, at most: those of the first units, by what the page sorts by."""
SIZE = 144
"""Longer side of an image on the page, in px."""
BATCH = 4
FINEST = 64
"""Cells a side of an outline, at most."""

Applied = Sequence[tuple[edits.Edit, float | None]]


def keep(
    generator: Generator, audit: Audit, out: Path, *,
    changes: Applied = (), names: Mapping[str, str] | None = None, most: int = PICTURES, progress: Progress = quiet,
) -> Path:  # fmt: skip
    """Write index.html, audit.json, units.csv and areas.csv into the folder `out`; the path of the page.

    `changes` are the edits that the audit was made with, `names` what they are called, by content.
    """
    chosen, rows, edited_rows = _chosen(audit, most)
    drawn = _pictures(generator, audit, rows, (), "pictures", progress)
    drawn += _pictures(generator, audit, edited_rows, changes, "edited pictures", progress)
    shots = {key: _shots(audit, key, unit.top, rows, 0) for key, unit in chosen.items()}
    edited = {key: _shots(audit, key, unit.edited_top, edited_rows, len(rows)) for key, unit in chosen.items()}
    page = audit_page(audit.as_json(), drawn, shots, edited, names=names)
    audit.save(out)
    save_page(page, out / "index.html")
    return out / "index.html"


def _ranked(audit: Audit) -> Iterator[tuple[tuple[str, int], Unit]]:
    """Units in the order that the page shows them in, those of all layers in turn where they have no names."""
    if audit.edits:
        order = [(layer, unit) for _, layer, unit in audit.changed()]
    elif audit.concepts:
        found = [(not unit.meaning.holds, -unit.meaning.iou, layer.name, unit.index)
                 for layer in audit.layers for unit in layer.units]  # fmt: skip
        order = [(layer, unit) for _, _, layer, unit in sorted(found)]
    else:
        most = max((len(layer.units) for layer in audit.layers), default=0)
        order = [(layer.name, i) for i in range(most) for layer in audit.layers if i < len(layer.units)]
    return (((layer, unit), audit.layer(layer).units[unit]) for layer, unit in order)


def _chosen(audit: Audit, most: int) -> tuple[dict[tuple[str, int], Unit], list[int], list[int]]:
    """Units with pictures, and the rows of these before and under the edits: no more than `most` together."""
    chosen: dict[tuple[str, int], Unit] = {}
    rows: dict[int, None] = {}
    edited: dict[int, None] = {}
    for key, unit in _ranked(audit):
        wanted = dict.fromkeys(seen.row for seen in unit.top[:SHOWN])
        under = dict.fromkeys(seen.row for seen in unit.edited_top[:SHOWN])
        if len(rows | wanted) + len(edited | under) <= most:
            rows, edited = rows | wanted, edited | under
            chosen[key] = unit
    return chosen, list(rows), list(edited)


def _pictures(
    generator: Generator, audit: Audit, rows: Sequence[int], changes: Applied, what: str, progress: Progress
) -> list[Image.Image]:
    world = World(audit.settings["truncation"], audit.settings["noise"])
    found = []
    with torch.no_grad(), edits.applied(generator.module, *changes) if changes else nullcontext():
        for first in range(0, len(rows), BATCH):
            progress(what, first, len(rows))
            ws = world.styles(generator, SCORING, rows[first : first + BATCH])
            images = generator.synthesize(ws=ws, noise=world.noise)
            found += pictures(levels(shrink(images, min(SIZE, audit.resolution))))
    progress(what, len(rows), len(rows))
    return found


def _shots(audit: Audit, key: tuple[str, int], top: Sequence[Seen], rows: Sequence[int], first: int) -> list[Shot]:
    grid = audit.layer(key[0]).grid
    shots = []
    for seen in top[:SHOWN]:
        mask = _coarse(seen.unpacked(grid).numpy())
        shots.append(Shot(first + rows.index(seen.row), seen.row, outline(mask), (mask.shape[0], mask.shape[1])))
    return shots


def _coarse(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask of at most `FINEST` cells a side: on wherever any of the cells taken together is."""
    for axis in (0, 1):
        step = -(-mask.shape[axis] // FINEST)
        if step > 1:
            starts = np.arange(0, mask.shape[axis], step)
            mask = np.logical_or.reduceat(mask, starts, axis=axis)
    return mask
