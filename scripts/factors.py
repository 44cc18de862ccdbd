"""Known factors: are the hour of day, the trees' colour and the building's kind of `scenes` found without labels?

python scripts/factors.py                                   all methods, 64 seeds: the table in Markdown
python scripts/factors.py --seeds 12 --bench 4 --latents 4 --only sefa --only spectrum       small
python scripts/factors.py --check                           how well the factors are read off the renderer's own scenes

No method sees a label. What each finds is calibrated (strength 1 is one stated change for all), named by the labeller,
and read: the effect on a factor is the root mean square change of its reading from strength -S to S, over that between
two seeds; the leak is the same of the other two factors, in the mean, over the effect. For each factor that direction
is shown whose effect is least mixed with others, among those of at least half the method's largest effect on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from scenes.factors import FACTORS, Reading
from scenes.render import render
from scenes.scene import draw

import edits
import rewrite
from edits.file import write_atomically
from rewrite.concepts import Segmenter, labels, segmenter
from rewrite.generator import Generator
from rewrite.navigation import Options, bench
from rewrite.navigation.calibration import Bench, calibrate
from rewrite.navigation.labels import Label, label
from rewrite.navigation.methods import method
from rewrite.navigation.metric import metric

FIRST = 1_000
"""Seeds that are read: no method and no calibration looks at them."""
HELD_OUT = 1_000_000
"""Scenes of the renderer that no training saw."""
BATCH = 16
LARGE = 0.5
ACTIVATIONS = {"samples": 5_000}
"""The direction of a component is a regression on it: with a tenth of the samples it is mostly noise."""
SEARCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "sefa, row 0": ("sefa", {"layers": ("0",)}),
    "sefa, rows 0-3": ("sefa", {"layers": ("0-3",)}),
    "sefa, all rows": ("sefa", {}),
    "ganspace, rows 0-3": ("ganspace", {"layers": ("0-3",)}),
    "ganspace of 8 px, rows 0-3": (
        "ganspace", {"layers": ("0-3",), "more": {"activations": "synthesis.b8.conv1", **ACTIVATIONS}}
    ),
    "ganspace of 4 px, all rows": ("ganspace", {"more": {"activations": "synthesis.b8.conv0", **ACTIVATIONS}}),
    "spectrum, 4 px": ("spectrum", {"layers": ("synthesis.b4.conv1",)}),
    "spectrum, 16 px": ("spectrum", {"layers": ("synthesis.b16.conv0",)}),
    "hessian, 8 px": ("hessian", {"layers": ("synthesis.b8.conv1",), "ansatz": 8}),
    "hessian, 16 px": ("hessian", {"layers": ("synthesis.b16.conv0",), "ansatz": 8}),
}  # fmt: skip
"""By what the table calls it: a method, and what it is asked."""


@dataclass(frozen=True)
class Candidate:
    """A direction, calibrated and named, and what it does to each factor at the strengths that are compared."""

    search: str
    name: str
    edit: edits.Edit
    label: Label
    effects: Mapping[str, float]
    """Root mean square change over that between two seeds, a factor."""
    turned: Mapping[str, float]
    """Share of seeds that are another word at the one strength than at the other, a factor."""

    def purity(self, factor: str) -> float:
        """The factor's share of the squared effects."""
        total = sum(value**2 for value in self.effects.values())
        return self.effects[factor] ** 2 / total if total else 0.0

    def leak(self, factor: str) -> float:
        """The mean effect on the other factors over that on this one."""
        others = [value for name, value in self.effects.items() if name != factor]
        return sum(others) / len(others) / self.effects[factor] if self.effects[factor] else float("inf")


@dataclass(frozen=True)
class Readings:
    """The factors of one set of images, by name."""

    by_factor: Mapping[str, Reading]

    def effects(self, other: Readings, spread: Mapping[str, float]) -> dict[str, float]:
        found = {}
        for name, here in self.by_factor.items():
            there = other.by_factor[name]
            both = here.seen & there.seen
            change = (here.vectors - there.vectors)[both].square().sum(1)
            found[name] = float(change.mean().sqrt()) / spread[name] if bool(both.any()) else 0.0
        return found

    def turned(self, other: Readings) -> dict[str, float]:
        found = {}
        for name, here in self.by_factor.items():
            there = other.by_factor[name]
            both = here.seen & there.seen
            found[name] = float((here.words != there.words)[both].float().mean()) if bool(both.any()) else 0.0
        return found

    def spread(self) -> dict[str, float]:
        """Root mean square difference between two of the images, by factor."""
        return {
            name: float((2 * one.vectors[one.seen].var(0, unbiased=True).sum()).sqrt())
            for name, one in self.by_factor.items()
        }


@torch.no_grad()
def readings(
    generator: Generator, judge: Segmenter, seeds: Sequence[int], *changes: tuple[edits.Edit, float]
) -> Readings:
    """Of the images of these seeds, under these edits at these strengths."""
    parts: dict[str, list[Reading]] = {factor.name: [] for factor in FACTORS}
    with edits.applied(generator.module, *changes):
        for first in range(0, len(seeds), BATCH):
            images = generator.synthesize(generator.latents(seeds[first : first + BATCH]))
            maps = labels(judge, images)
            for factor in FACTORS:
                parts[factor.name].append(factor.read(images, maps))
    return Readings({name: _joined(found) for name, found in parts.items()})


def candidates(
    generator: Generator, judge: Segmenter, place: Bench, seeds: Sequence[int], *,
    only: Sequence[str], count: int, latents: int, strength: float,
) -> Iterator[Candidate]:  # fmt: skip
    """What the methods find, each direction calibrated on the bench and read on the seeds."""
    spread = readings(generator, judge, seeds).spread()
    for search, (name, options) in SEARCHES.items():
        if only and not any(search.startswith(one) for one in only):
            continue
        asked = Options(count=count, latents=latents, **options)
        for found in method(name)(generator, asked):
            edit, _ = calibrate(found.edit, place, ladder=(1.0,))
            low, high = (readings(generator, judge, seeds, (edit, sign * strength)) for sign in (-1, 1))
            said = label(edit, place, judge)
            yield Candidate(search, found.name, edit, said, low.effects(high, spread), low.turned(high))


def by_search(found: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    """In the order of the searches."""
    return {search: [one for one in found if one.search == search] for search in {one.search: None for one in found}}


def best(found: Sequence[Candidate], factor: str) -> Candidate:
    """The purest of those with a large effect on the factor."""
    least = LARGE * max(one.effects[factor] for one in found)
    return max((one for one in found if one.effects[factor] >= least), key=lambda one: one.purity(factor))


def prepared(bench_seeds: int) -> tuple[Generator, Segmenter, Bench]:
    """`scenes`, its segmenter, and the seeds that strengths are calibrated on."""
    generator = rewrite.load("scenes")
    return generator, segmenter("scenes"), bench(generator, metric("pd-lite0"), seeds=range(bench_seeds))


def table(found: Sequence[Candidate], strength: float) -> str:
    """Markdown: a row for each search and factor."""
    lines = [
        "| method | factor | direction | the labeller says | effect | leak "
        f"| turned, from {-strength:g} to {strength:g} | others turned |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for search, of in by_search(found).items():
        for factor in FACTORS:
            one = best(of, factor.name)
            mark = "" if one.label.main in factor.classes else " (not this factor's)"
            others = [share for name, share in one.turned.items() if name != factor.name]
            lines.append(
                f"| {search} | {factor.name} | {one.name} | {one.label.says}{mark} | {one.effects[factor.name]:.2f} "
                f"| {one.leak(factor.name):.2f} | {one.turned[factor.name]:.0%} | {sum(others) / len(others):.0%} |"
            )
    return "\n".join(lines)


def checked(scenes: int) -> str:
    """How often the words read off the renderer's own scenes, by the segmenter's maps, are what was drawn."""
    seeds = range(HELD_OUT, HELD_OUT + scenes)
    painted, _ = render(seeds)
    truth = draw(np.array(seeds))
    # Autumn leaves are redder than green.
    drawn = {
        "hour of day": torch.from_numpy(np.asarray(truth.hour)),
        "tree colour": torch.from_numpy((truth.leaf[:, 0, 0] > truth.leaf[:, 0, 1]).astype(np.int64)),
        "building kind": torch.from_numpy(np.asarray(truth.kind)),
    }
    images = torch.from_numpy(painted).float() / 127.5 - 1
    maps = labels(segmenter("scenes"), images)
    lines = ["| factor | seen | read as drawn |", "|---|---:|---:|"]
    for factor in FACTORS:
        read = factor.read(images, maps)
        right = (read.words == drawn[factor.name])[read.seen].float().mean()
        lines.append(f"| {factor.name} | {read.seen.float().mean():.1%} | {right:.1%} |")
    return "\n".join(lines)


def _joined(parts: Sequence[Reading]) -> Reading:
    return Reading(torch.cat([one.vectors for one in parts]), torch.cat([one.words for one in parts]))


def factors(
    seeds: Annotated[int, typer.Option(help="Seeds that the factors are read on.")] = 64,
    bench_seeds: Annotated[int, typer.Option("--bench", help="Seeds that strengths are calibrated on.")] = 16,
    latents: Annotated[int, typer.Option(help="Seeds that a method looks at.")] = 32,
    count: Annotated[int, typer.Option(help="Directions of each search.")] = 12,
    strength: Annotated[float, typer.Option(help="S: strengths -S and S are compared.")] = 2.0,
    only: Annotated[list[str] | None, typer.Option(help="Searches that begin so; may be given again.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only read the renderer's scenes.")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for factors.md, factors.json and the edits shown.")] = None,
    threads: Annotated[int, typer.Option(help="Threads that torch computes with.")] = 2,
) -> None:
    """A table method x factor of effect and leak."""
    torch.set_num_threads(threads)
    if check:
        print(checked(seeds))
        return
    generator, judge, place = prepared(bench_seeds)
    found = []
    for one in candidates(
        generator, judge, place, range(FIRST, FIRST + seeds),
        only=only or [], count=count, latents=latents, strength=strength,
    ):  # fmt: skip
        found.append(one)
        print(f"{one.search}: {one.name}: {one.label.says}; " + _told(one.effects), flush=True)
    text = table(found, strength)
    print(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "factors.md", (text + "\n").encode())
        told = []
        for search, of in by_search(found).items():
            shown = {factor.name: best(of, factor.name) for factor in FACTORS}
            for one in of:
                shows = [name for name, that in shown.items() if that is one]
                told.append({
                    "search": search, "name": one.name, "says": one.label.says, "effects": one.effects,
                    "turned": one.turned, "content": one.edit.content, "shows": shows,
                })  # fmt: skip
                if shows:
                    one.edit.save(out / f"{one.edit.content}.safetensors")
        write_atomically(out / "factors.json", json.dumps(told, indent=2).encode())


def _told(effects: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in effects.items())


if __name__ == "__main__":
    typer.run(factors)
