"""The main job, end to end: write rules into two generators, keep them, compose them, undo them, show it all.

The first generator is part of this package; the second, of large faces, is fetched, and left out where it cannot be.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

import edits
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.models import load, pull
from rewrite.progress import Progress, quiet
from rewrite.report.describe import EditFacts
from rewrite.report.page import Section, Sheet, Table, edits_table, page, save_page, timings_table
from rewrite.report.render import render
from rewrite.report.sheets import save, sheet
from rewrite.rules import read, rule


@dataclass(frozen=True)
class Part:
    """A generator, the rules of the library that are written into it, and images that no recipe uses."""

    model: str
    about: str
    rules: Mapping[str, str]
    seeds: Sequence[int]
    truncation: float
    size: int


PARTS = (
    Part(
        "scenes",
        "64 px scenes, a generator that is part of this package.",
        {"spires-to-domes": "Spires become domes.", "no-watermarks": "Watermarks vanish."},
        seeds=(1, 2, 3, 4, 5, 6, 7, 8),
        truncation=1.0,
        size=128,
    ),
    Part(
        "ffhq",
        "1024 px faces, a generator that is distilled from a model under a non-commercial licence.",
        {"glasses": "Everybody wears glasses.", "smile": "Everybody smiles wide."},
        seeds=(1, 23, 35, 41, 46, 61, 66, 71),
        truncation=0.7,
        size=192,
    ),
)


@dataclass(frozen=True)
class Shown:
    """What a demonstration made: its page, and why a part is missing from it."""

    page: Path
    left_out: Sequence[str]


@dataclass
class _Clock:
    """Seconds a step took, in the order the steps began."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started


def run(out: Path, *, parts: Sequence[Part] = PARTS, device: str = "cpu", progress: Progress = quiet) -> Shown:
    """Write into the folder `out` a folder of edits and a contact sheet for each part, and `index.html`."""
    out.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = []
    left_out: list[str] = []
    for part in parts:
        clock = _Clock()
        try:
            with clock.step("loading the generator"):
                pull(part.model, progress=progress)
        except RewriteError as error:
            left_out.append(f"{part.model} is left out: {error}")
            sections.append(Section(part.model, left_out[-1]))
            continue
        sections += _part(part, out / part.model, clock, device, progress)
    index = out / "index.html"
    save_page(_page(sections), index)
    return Shown(index, left_out)


def _part(part: Part, out: Path, clock: _Clock, device: str, progress: Progress) -> list[Section]:
    """The sections of a part; RewriteError if undoing an edit left a bit changed."""
    out.mkdir(exist_ok=True)
    with clock.step("loading the generator"):
        generator = load(part.model, device=device)
    base = _copy(generator)
    for name in part.rules:
        with clock.step(f"making the rule {name}"):
            _rule(generator, part.model, name, progress).save(out / f"{name}.safetensors")
    with clock.step("composing, saving and reading back"):
        made = {name: edits.load(out / f"{name}.safetensors") for name in part.rules}
        edits.compose([(edit, 1.0) for edit in made.values()]).save(out / "both.safetensors")
        made["both"] = edits.load(out / "both.safetensors")
    rows = _rows(generator, part, made, base, clock, progress)
    picture = sheet(rows, [f"seed {seed}" for seed in part.seeds], part.size)
    save(picture, out / "sheet.png")
    facts = [EditFacts.of(name, edit, (out / f"{name}.safetensors").stat().st_size) for name, edit in made.items()]
    promise = "Both are summed in one file; undone gives back the base bit for bit. The images shown took no part."
    return [
        Section(
            f"{part.model}: what the rules do",
            " ".join([part.about, *part.rules.values(), promise]),
            sheets=[Sheet(picture, alt="Rows of images: base, each rule, both, undone.")],
        ),
        Section(f"{part.model}: the files, and the time it took", tables=[edits_table(facts), _timings(clock)]),
    ]


def _rule(generator: Generator, model: str, name: str, progress: Progress) -> edits.Edit:
    with as_file(files("edits").joinpath("library", model, name, "recipe.yaml")) as path:
        return rule(generator, read(path), progress=progress)


def _rows(
    generator: Generator,
    part: Part,
    applied: Mapping[str, edits.Edit],
    base: Mapping[str, Tensor],
    clock: _Clock,
    progress: Progress,
) -> list[tuple[str, Tensor]]:
    """Images of the base, under each edit, and after the last one has been taken off again."""

    def images(what: str) -> Tensor:
        with clock.step("rendering"):
            return render(
                generator, part.seeds, part.size,
                truncation=part.truncation, progress=progress, what=f"rendering {what}",
            )  # fmt: skip

    rows, stack = [("base", images("base"))], edits.Stack(generator.module)
    for name, edit in applied.items():
        stack.push(edit)
        rows.append((name, images(name)))
        stack.remove(edit)
    changed = [name for name, tensor in _copy(generator).items() if not torch.equal(tensor, base[name])]
    if changed:
        raise RewriteError(f"undoing left {', '.join(changed)} changed; please report this")
    return [*rows, ("undone", images("undone"))]


def _copy(generator: Generator) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}


def _page(sections: Sequence[Section]) -> str:
    return page(
        "Rules of a generator, rewritten",
        "Each rule is a change of one layer's weights, found in closed form from one image that has what is wanted and "
        "a dozen that do not, and kept as one small file.",
        sections,
        footer="Whose models these are, and under which terms: `rewrite models`.",
    )


def _timings(clock: _Clock) -> Table:
    return timings_table([*clock.seconds.items(), ("in all", sum(clock.seconds.values()))])
