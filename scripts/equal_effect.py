"""Methods at equal effect: each direction as strong as it must be for the same change of a factor; what else changes?

python scripts/factors.py --out FOUND                       finds them
python scripts/equal_effect.py FOUND
python scripts/equal_effect.py FOUND --seeds 12 --bench 4   small

The directions are those that scripts/factors.py shows: of each method the purest of a large effect. The strength is
sought at which the factor's reading changes, from -S to S, by a stated share of what lies between two seeds. Then the
attributes that ought to have stayed are read (the other factors, in the same unit: mean and most), and the images: the
distance from the unedited ones, and its share on the factor's own classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from factors import FIRST, prepared, readings
from scenes.classes import LABEL
from scenes.factors import FACTORS, Factor

import edits
from rewrite.concepts import Segmenter, labels
from rewrite.generator import Generator
from rewrite.navigation.calibration import Bench
from rewrite.navigation.reach import CLOSE, reach


@dataclass(frozen=True)
class Shown:
    """A direction as the table of factors shows it."""

    search: str
    name: str
    says: str
    edit: edits.Edit


@dataclass(frozen=True)
class Row:
    """A direction at the strength of equal effect; effects are shares of what lies between two seeds."""

    shown: Shown
    strength: float
    effect: float
    reached: bool
    others: tuple[float, ...]
    distance: float
    """Mean of both signs, by the bench's metric."""
    inside: float
    """The share of it that lies on the factor's classes, as they were."""


def compared(
    generator: Generator, judge: Segmenter, place: Bench, seeds: Sequence[int], spread: Mapping[str, float],
    one: Shown, factor: Factor, target: float,
) -> Row:  # fmt: skip
    """The direction at the strength at which its effect on the factor is the target."""

    def effects(strength: float) -> dict[str, float]:
        low, high = (readings(generator, judge, seeds, (one.edit, sign * strength)) for sign in (-1, 1))
        return low.effects(high, spread)

    # `reach` is for squared lengths.
    strength, _ = reach(lambda strength: effects(strength)[factor.name] ** 2, target**2)
    found = effects(strength)
    distance, inside = changed(generator, judge, place, one.edit, strength, factor)
    close = abs(found[factor.name] / target - 1) <= 2 * CLOSE
    others = tuple(value for name, value in found.items() if name != factor.name)
    return Row(one, strength, found[factor.name], close, others, distance, inside)


@torch.no_grad()
def changed(
    generator: Generator, judge: Segmenter, place: Bench, edit: edits.Edit, strength: float, factor: Factor
) -> tuple[float, float]:
    """The mean distance on the bench's seeds, and the share of it that lies on the factor's classes."""
    whole = within = 0.0
    chosen = torch.tensor([LABEL[name] for name in factor.classes])
    base = list(place.images())
    coverage = [torch.isin(labels(judge, images), chosen)[:, None].float() for images in base]
    for signed in (-strength, strength):
        with edits.applied(generator.module, (edit, signed)):
            for before, after, part in zip(base, place.images(), coverage, strict=True):
                whole += float(place.metric.distance(before, after).sum()) / 2
                within += float(place.metric.distance(before, after, part).sum()) / 2
    return whole / len(place.seeds), within / whole if whole else 0.0


def table(rows: Sequence[tuple[Factor, Row]], target: float) -> str:
    """Markdown."""
    lines = [
        f"| factor, moved by {target:g} | method | direction | the labeller says | strength | effect | others, mean "
        "| others, most | distance | of it on the factor's classes |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for factor, row in rows:
        short = "" if row.reached else " (all it reaches)"
        lines.append(
            f"| {factor.name} | {row.shown.search} | {row.shown.name} | {row.shown.says} "
            f"| {row.strength:.2f} | {row.effect:.2f}{short} | {sum(row.others) / len(row.others):.2f} "
            f"| {max(row.others):.2f} | {row.distance:.3f} | {row.inside:.0%} |"
        )
    return "\n".join(lines)


def equal_effect(
    found: Annotated[Path, typer.Argument(help="What `scripts/factors.py --out` left.")],
    target: Annotated[float, typer.Option(help="The effect: a share of what lies between two seeds.")] = 0.5,
    seeds: Annotated[int, typer.Option(help="Seeds that the factors are read on.")] = 64,
    bench_seeds: Annotated[int, typer.Option("--bench", help="Seeds that distances are measured on.")] = 16,
    only: Annotated[list[str] | None, typer.Option(help="Searches that begin so; may be given again.")] = None,
    threads: Annotated[int, typer.Option(help="Threads that torch computes with.")] = 2,
) -> None:
    """The table of off-target change at equal effect."""
    torch.set_num_threads(threads)
    generator, judge, place = prepared(bench_seeds)
    read = range(FIRST, FIRST + seeds)
    spread = readings(generator, judge, read).spread()
    told = json.loads((found / "factors.json").read_text())
    rows = []
    for factor in FACTORS:
        for one in told:
            if factor.name in one["shows"] and (not only or any(one["search"].startswith(name) for name in only)):
                edit = edits.load(found / f"{one['content']}.safetensors")
                shown = Shown(one["search"], one["name"], one["says"], edit)
                rows.append((factor, compared(generator, judge, place, read, spread, shown, factor, target)))
                print(f"{factor.name}: {shown.search}: {shown.name}", flush=True)
    print(table(rows, target))


if __name__ == "__main__":
    typer.run(equal_effect)
