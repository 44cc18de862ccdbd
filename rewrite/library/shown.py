"""What a person sees of an entry: a sheet of base and edited images, and a card."""

from __future__ import annotations

import io
from dataclasses import replace

import torch

import edits
from edits.file import pack
from rewrite.check import Bounds, Verdict
from rewrite.check.gate import Outcome, judge
from rewrite.generator import Generator
from rewrite.library.manifest import SHEET
from rewrite.progress import Progress
from rewrite.report.card import Card
from rewrite.report.render import compared
from rewrite.report.sheets import sheet

SHOWN, SIZE = 7, 128
"""Columns of a sheet, and their pixels."""


def sheet_of(generator: Generator, edit: edits.Edit, verdict: Verdict, truncation: float, progress: Progress) -> bytes:
    """From the seed that changes most to the one that changes least, closer at first; small images are enlarged."""
    each = verdict.seen.each
    ranked = each["distance inside" if "distance inside" in each else "distance"].argsort(descending=True, stable=True)
    steps = (torch.linspace(0, 1, SHOWN).square() * (len(ranked) - 1)).round().long()
    seeds = [verdict.seen.seeds[i] for i in ranked[steps].tolist()]
    size = min(SIZE, generator.resolution)
    rows = compared(
        generator, {"base": (), "edited": [(edit, None)]}, seeds, size, truncation=truncation, progress=progress
    )
    times = max(1, SIZE // size)
    enlarged = [(name, images.repeat_interleave(times, 2).repeat_interleave(times, 3)) for name, images in rows]
    stream = io.BytesIO()
    sheet(enlarged, [f"seed {seed}" for seed in seeds], size * times).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def card_of(
    name: str, generator: Generator, edit: edits.Edit, verdict: Verdict, bounds: Bounds, waived: str, *, shipped: bool
) -> str:
    """The card, with what was found judged by the entry's own bounds, and which of them are beyond what is usual."""
    model, own = name.split("/")
    file = f"{own}.safetensors"
    kept = tuple(judge(finding, verdict.findings[finding], limit) for finding, limit in bounds.limits.items())
    outcome: Outcome = "PASS" if all(one.outcome == "PASS" for one in kept) else "FAIL"
    conditions = dict(verdict.conditions) | ({"beyond what is usual": waived} if waived else {})
    said = replace(verdict, outcome=outcome, judgements=kept, conditions=conditions)
    return Card(
        edit=edit, file=file, size=sum(len(chunk) for chunk in pack(edit)), licence="mit" if shipped else None,
        model={"name": model, **generator.card}, sheet=SHEET if shipped else None,
        verdict=said.facts, fetch=f"rewrite library build {name} --out {file}",
    ).markdown()  # fmt: skip
