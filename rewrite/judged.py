"""A verdict, written down: its figures, and a page with the seeds that changed most and those in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

import edits
from edits.file import write_atomically
from rewrite.check import Verdict
from rewrite.check.look import SIDE, Applied, images
from rewrite.generator import Generator
from rewrite.perception.images import bicubic
from rewrite.report.page import save_page
from rewrite.report.verdict import heat, verdict_page

SHOWN = 6
"""Seeds on each sheet."""


def keep(generator: Generator, applied: Applied, verdict: Verdict, out: Path) -> Path:
    """Write verdict.json and index.html into the folder `out`; the path of the page."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "verdict.json", (json.dumps(verdict.facts, indent=1) + "\n").encode())
    ranked = verdict.ranked()
    middle = max(0, len(ranked) // 2 - SHOWN // 2)
    chosen = {"The worst seeds": ranked[:SHOWN], "Seeds in the middle": ranked[middle : middle + SHOWN]}
    rows = {title: _rows(generator, applied, verdict, seeds) for title, seeds in chosen.items()}
    captions = {title: [f"seed {seed}" for seed in seeds] for title, seeds in chosen.items()}
    save_page(verdict_page(verdict.facts, rows, captions), out / "index.html")
    return out / "index.html"


def _rows(generator: Generator, applied: Applied, verdict: Verdict, seeds: list[int]) -> list[tuple[str, Tensor]]:
    base = images(generator, seeds, verdict.view)
    with edits.applied(generator.module, *applied):
        edited = images(generator, seeds, verdict.view)
    if base.shape[-1] > SIDE:
        base, edited = bicubic(base, SIDE), bicubic(edited, SIDE)
    with torch.no_grad():
        where = heat(verdict.view.distance.maps(base, edited))
    return [("base", base), ("edited", edited), ("where", where)]
