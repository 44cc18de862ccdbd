"""The main job, end to end: write two rules into a face generator, keep them, compose them, undo them, show it all."""

from __future__ import annotations

import time
from collections.abc import Iterator
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

MODEL = "ffhq"
RULES = {"glasses": "Everybody wears glasses.", "smile": "Everybody smiles wide."}
SEEDS = (1, 23, 35, 41, 46, 61, 66, 71)
"""Faces that no recipe uses."""
TRUNCATION = 0.7
SIZE = 192


@dataclass
class _Clock:
    """Seconds a step took, in the order the steps began."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - started


def run(out: Path, *, device: str = "cpu", progress: Progress = quiet) -> Path:
    """Write the edits, the contact sheet and `index.html` into the folder `out`; the path of the page."""
    out.mkdir(parents=True, exist_ok=True)
    clock = _Clock()
    with clock.step("loading the generator"):
        pull(MODEL, progress=progress)
        generator = load(MODEL, device=device)
    base = _copy(generator)
    for name in RULES:
        with clock.step(f"making the rule {name}"):
            _rule(generator, name, progress).save(out / f"{name}.safetensors")
    with clock.step("composing, saving and reading back"):
        made = {name: edits.load(out / f"{name}.safetensors") for name in RULES}
        both = edits.compose([(edit, 1.0) for edit in made.values()])
        both.save(out / "both.safetensors")
    rows = _rows(generator, {**made, "both": edits.load(out / "both.safetensors")}, base, clock, progress)
    picture = sheet(rows, [f"seed {seed}" for seed in SEEDS], SIZE)
    save(picture, out / "sheet.png")
    files_made = [(name, edit, out / f"{name}.safetensors") for name, edit in {**made, "both": both}.items()]
    save_page(
        _page(Sheet(picture, alt="Rows of faces: base, each rule, both, undone."), files_made, clock),
        out / "index.html",
    )
    return out / "index.html"


def _rule(generator: Generator, name: str, progress: Progress) -> edits.Edit:
    with as_file(files("edits").joinpath("library", MODEL, name, "recipe.yaml")) as path:
        return rule(generator, read(path), progress=progress)


def _rows(
    generator: Generator, applied: dict[str, edits.Edit], base: dict[str, Tensor], clock: _Clock, progress: Progress
) -> list[tuple[str, Tensor]]:
    """Images of the base, under each edit, and after the last one has been taken off again."""

    def images(what: str) -> Tensor:
        with clock.step("rendering"):
            return render(generator, SEEDS, SIZE, truncation=TRUNCATION, progress=progress, what=f"rendering {what}")

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


def _page(picture: Sheet, made: list[tuple[str, edits.Edit, Path]], clock: _Clock) -> str:
    total = sum(clock.seconds.values())
    return page(
        "Two rules of a face generator, rewritten",
        f"{MODEL}: 1024 px faces. Each rule is a change of one layer's weights, found in closed form from one face "
        f"that has it and twelve that do not, and kept as one small file. The faces below took no part.",
        [
            Section(
                "What the rules do",
                " ".join(RULES.values())
                + " Both rules are summed in one file; undone gives back the base bit for bit.",
                sheets=[picture],
            ),
            Section("The files", tables=[edits_table(_facts(*row) for row in made)]),
            Section("The time it took", tables=[_timings(clock, total)]),
        ],
        footer="The generator is distilled from a model under a non-commercial licence; see `rewrite models`.",
    )


def _facts(name: str, edit: edits.Edit, path: Path) -> EditFacts:
    return EditFacts.of(name, edit, path.stat().st_size)


def _timings(clock: _Clock, total: float) -> Table:
    return timings_table([*clock.seconds.items(), ("in all", total)])
