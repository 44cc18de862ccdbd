"""The tables that the gate and the rules are held to, measured again.

python scripts/reproduce.py metrics faces64 --out metrics.json        what known changes score; identity is 0
python scripts/reproduce.py stability faces64                         how often other seeds say otherwise
python scripts/reproduce.py local faces64                             a perfectly local edit, outside
python scripts/reproduce.py cost faces64 --samples 2000               time and memory of `rewrite check`
python scripts/reproduce.py rules domes-to-spires --recipe FILE       a rule beside descents and pasted pixels
python scripts/reproduce.py watermark --recipe FILE                   units zeroed beside a rule
python scripts/reproduce.py artifacts                                 units of unreal images, silenced
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml
from reproduction import artifacts as unreal
from reproduction import cost as costs
from reproduction import draw, harm, stability, turned
from reproduction import local as locality
from reproduction import metrics as distances
from reproduction import rules as ways
from reproduction import watermark as marks
from reproduction.sheet import keep, short, show
from scenes.wishes import WISHES

import rewrite
from rewrite.check import View, view
from rewrite.concepts import scenes
from rewrite.generator import Generator, Layer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Model = Annotated[str, typer.Argument(help="A model's name, or a checkpoint.")]
Scenes = Annotated[str, typer.Option("--model", help="A generator of scenes: its name, or a checkpoint.")]
Samples = Annotated[int, typer.Option(help="Seeds.")]
Eye = Annotated[str, typer.Option(help="Features for the distances: lite0@64/320, inception, ...")]
Distance = Annotated[str, typer.Option(help="Between two images: pd-lite0, lpips-alex, ...")]
Where = Annotated[str | None, typer.Option("--layer", help="The layer that is perturbed; the last at 16 px.")]
Out = Annotated[Path | None, typer.Option(help="A JSON file for the figures.")]
Threads = Annotated[int, typer.Option(help="Of torch.")]
SHAPING = ("synthesis.b8.conv1", "synthesis.b16.conv1", "synthesis.b32.conv1")
"""Layers of scenes that shape things rather than paint them."""
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="What the methods follow; without, the clearest objects are taken.")
]


@app.command()
def metrics(
    model: Model, samples: Samples = 1000, eye: Eye = "lite0@64/320", distance: Distance = "pd-lite0",
    layer: Where = None, out: Out = None, threads: Threads = 1,
) -> None:  # fmt: skip
    """Every distance for nothing, for known changes of images, and for known changes of weights."""
    torch.set_num_threads(threads)
    generator, place = _opened(model, layer)
    ground = distances.Ground.of(generator, view(eye=eye, distance=distance), samples)
    conditions, rows = ground.facts | {"layer": place.name}, []
    for row in distances.table(ground, harm.perturbations(generator, place)):
        typer.echo(row.name, err=True)
        rows.append(row)
        keep(out, conditions | {"rows": [one.facts for one in rows]})
    show(_said(conditions), distances.COLUMNS, (row.cells for row in rows))


@app.command("stability")
def stable(
    model: Model, samples: Samples = 250, blocks: Annotated[int, typer.Option(help="Disjoint stretches.")] = 20,
    cap: Annotated[int, typer.Option(help="Seeds of a block, for verdicts that want more.")] = 1000,
    amount: Annotated[float | None, typer.Option(help="Weight noise of the borderline edit; else found.")] = None,
    eye: Eye = "lite0@64/320", layer: Where = None, out: Out = None, threads: Threads = 1,
) -> None:  # fmt: skip
    """The gate's verdicts on one harmless, one borderline and one harmful edit, over and over on other seeds."""
    torch.set_num_threads(threads)
    generator, place = _opened(model, layer)
    watched = view(eye=eye).eye
    tried = stability.edits_of_three_kinds(generator, watched, place, samples=2 * samples, amount=amount)
    judged: list[stability.Judged] = []
    conditions = {"model": model, "layer": place.name, "eye": str(watched.identity), "samples": samples, "cap": cap}
    for one in stability.blocks(generator, watched, tried, count=blocks, samples=samples, cap=cap):
        typer.echo(f"seeds {one.first}: {one.edit} {one.started} {one.ended}", err=True)
        judged.append(one)
        keep(out, conditions | {"summary": stability.summary(judged)})
    told = stability.summary(judged)
    show(_said(conditions), stability.COLUMNS, (stability.cells(name, of) for name, of in told.items()))


@app.command()
def local(
    model: Model, samples: Samples = 500, units: Annotated[int, typer.Option(help="That are zeroed.")] = 40,
    eye: Eye = "lite0@64/320", distance: Distance = "pd-lite0", layer: Where = None, out: Out = None,
    threads: Threads = 1,
) -> None:  # fmt: skip
    """An edit pasted in a square, and as it is: composites beside the mean of a map outside the mask."""
    torch.set_num_threads(threads)
    generator, place = _opened(model, layer)
    edit = draw.zeroed(generator, place, draw.units(place, units, 0))
    looked = view(eye=eye, distance=distance)
    found = locality.localities(generator, looked, edit, samples)
    conditions = {
        "model": model, "layer": place.name, "units": units, "samples": samples, "eye": str(looked.eye.identity),
        "distance": str(looked.distance_identity(generator)),
    }  # fmt: skip
    keep(out, conditions | {"rows": [one.facts for one in found]})
    show(_said(conditions), locality.COLUMNS, (one.cells for one in found))


@app.command()
def cost(
    model: Model, samples: Samples = 2000, repeats: Annotated[int, typer.Option(help="Warm runs.")] = 3,
    amount: Annotated[float, typer.Option(help="Weight noise of the edit that is checked.")] = 0.1,
    layer: Where = None, out: Out = None, threads: Threads = 2,
) -> None:  # fmt: skip
    """Seconds and peak memory of one `rewrite check` in a process of its own, cold and warm."""
    generator, place = _opened(model, layer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.safetensors"
        draw.shaken(generator, place, amount).save(path)
        del generator
        found = costs.runs(model, path, samples=samples, repeats=repeats, threads=threads)
    conditions = {"model": model, "samples": samples, "threads": threads}
    keep(out, conditions | {"runs": [one.facts for one in found]})
    rows = ([one.what, f"{one.seconds:.1f}", f"{one.peak / 2**20:.0f}", one.verdict] for one in found)
    show(_said(conditions), ("run", "seconds", "peak MiB", "verdict"), rows)


@app.command()
def rules(
    wish: Annotated[str, typer.Argument(help=f"One of {', '.join(WISHES)}.")] = "domes-to-spires",
    model: Scenes = "scenes", recipe: RecipeFile = None, samples: Samples = 1000,
    rank: Annotated[int, typer.Option(help="Of the rules and descents that are limited.")] = 12,
    steps: Annotated[int, typer.Option(help="Of a descent on one layer; 2001 is what was published.")] = 2001,
    all_steps: Annotated[int, typer.Option(help="Of the descent on all weights.")] = 300,
    eye: Eye = "lite0@64/320", distance: Distance = "pd-lite0", out: Out = None, threads: Threads = 1,
) -> None:  # fmt: skip
    """A rule of few directions beside one of all, descents on one layer and on all weights, and pasted pixels."""
    torch.set_num_threads(threads)
    stage, asked = _staged(wish, model, recipe, samples, view(eye=eye, distance=distance))
    conditions = stage.facts | {"wish": wish, "layer": asked["layer"], "recipe": asked}
    rows = ways.methods(stage, asked, rank=rank, steps=steps, all_steps=all_steps)
    _kept_and_shown(conditions, rows, out)


@app.command()
def watermark(
    model: Scenes = "scenes", recipe: RecipeFile = None, samples: Samples = 1000,
    eye: Eye = "lite0@64/320", distance: Distance = "pd-lite0", out: Out = None, threads: Threads = 1,
) -> None:  # fmt: skip
    """Units that are loudest where the watermark is, zeroed, beside a rule."""
    torch.set_num_threads(threads)
    stage, asked = _staged("no-watermarks", model, recipe, samples, view(eye=eye, distance=distance))
    conditions = stage.facts | {"layer": asked["layer"], "recipe": asked}
    _kept_and_shown(conditions, marks.removals(stage, asked), out)


@app.command()
def artifacts(
    model: Scenes = "scenes", samples: Samples = 2000, eye: Eye = "lite0@64/112",
    layer: Annotated[list[str] | None, typer.Option(help="May be given again; else three.")] = None,
    units: Annotated[list[int] | None, typer.Option(help="That are silenced, likewise.")] = None,
    out: Out = None, threads: Threads = 1,
) -> None:  # fmt: skip
    """Units that go with a lack of realism, silenced: the distance to real scenes, beside units by lot."""
    torch.set_num_threads(threads)
    generator, watched = rewrite.load(model), view(eye=eye).eye
    conditions = {"model": model, "samples": samples, "eye": str(watched.identity)}
    rows: list[unreal.Cleaned] = []
    for row in unreal.cleanings(generator, layer or SHAPING, units or (4, 16), watched, samples):
        typer.echo(f"{row.cleaning.layer}, {len(row.cleaning.after.units)} units", err=True)
        rows.append(row)
        keep(out, conditions | {"rows": [one.facts for one in rows]})
    show(_said(conditions), unreal.COLUMNS, (row.cells for row in rows))


def _opened(model: str, layer: str | None) -> tuple[Generator, Layer]:
    generator = rewrite.load(model)
    return generator, draw.usual_layer(generator) if layer is None else generator.layer(layer)


def _staged(
    name: str, model: str, recipe: Path | None, samples: int, looked: View
) -> tuple[turned.Stage, dict[str, Any]]:
    generator, segment, wish = rewrite.load(model), scenes.segmenter(), WISHES[name]
    asked = ways.wanted(generator, segment, wish) if recipe is None else yaml.safe_load(recipe.read_text())
    stage = turned.Stage.of(generator, looked, segment, wish.source, wish.target, samples)
    return stage, asked


def _kept_and_shown(conditions: dict[str, Any], found: Any, out: Path | None) -> None:
    rows: list[turned.Turned] = []
    for row in found:
        typer.echo(row.name, err=True)
        rows.append(row)
        keep(out, conditions | {"rows": [one.facts for one in rows]})
    shown = {name: value for name, value in conditions.items() if name != "recipe"}
    show(_said(shown), turned.COLUMNS, (row.cells for row in rows))


def _said(conditions: dict[str, Any]) -> str:
    """Conditions in one line."""
    return ", ".join(
        f"{name} {short(value, 4) if isinstance(value, float) else value}"
        for name, value in conditions.items()
        if not isinstance(value, dict)
    )


if __name__ == "__main__":
    app()
