"""Rules on the built-in scenes, found by a sweep and measured on seeds that no recipe names.

python scripts/scene_rules.py sweep domes-to-spires --out FOLDER      recipes over layers, ranks and ridges
python scripts/scene_rules.py measure RECIPE.yaml domes-to-spires     one recipe, on 1,000 held-out seeds
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scenes import CLASSES, render
from scenes.effect import MANY, Effect, before, compared, effect
from scenes.wishes import WISHES, Wish, propose

import rewrite
from edits.file import write_atomically
from rewrite.concepts import scenes

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
POOL = range(10_000, 11_000)
"""Seeds among which the objects of a recipe are looked for; 0 to 999 are held out."""
PASTES = 12
COPIES = 3
"""Objects that are tried as what is copied."""
LAYERS = ("synthesis.b16.conv0", "synthesis.b16.conv1", "synthesis.b32.conv0", "synthesis.b32.conv1")
RANKS = (1, 4, 12, 32, "full")
RIDGES = (0.03, 0.3, 1.0, 3.0)
"""mu: how dear a change elsewhere is."""
GROWTH = 1.0
"""nu: how dear a growth of the weight's norm is, where a layer demodulates."""

Name = Annotated[str, typer.Argument(help=f"One of {', '.join(WISHES)}.")]
Model = Annotated[str, typer.Option(help="A model's name, or a checkpoint.")]


@app.command()
def sweep(
    name: Name,
    out: Annotated[Path, typer.Option(help="A folder: sweep.json, and the recipe that did best.")],
    model: Model = "scenes",
    seeds: Annotated[int, typer.Option(help="Held-out images on which each recipe is tried.")] = 200,
    threads: int = 2,
) -> None:
    """All recipes; the best turns most of the source class, less what it changes elsewhere."""
    torch.set_num_threads(threads)
    generator, segment, wish = rewrite.load(model), scenes.segmenter(), WISHES[name]
    kinds = [propose(generator, segment, wish, POOL, pastes=PASTES, copy=copy) for copy in range(COPIES)]
    if not wish.replaced:
        kinds += [{"paste": kinds[0]["paste"], "erase": {"units": units}} for units in (8, 24, 64)]
    # The sweep looks at other seeds than the final measurement does.
    base = list(before(generator, segment, range(5_000, 5_000 + seeds)))
    tried: list[dict[str, Any]] = []
    for kind, layer, rank, mu in track(list(product(kinds, LAYERS, RANKS, RIDGES)), name, console=Console(stderr=True)):
        recipe = kind | {"layer": layer, "rank": rank, "mu": mu, "nu": GROWTH}
        edit = rewrite.rule(generator, recipe)
        found = compared(generator, segment, edit, wish.source, wish.target, base)
        tried.append({"recipe": recipe, "score": score(found, wish), **asdict(found)})
    tried.sort(key=lambda one: -one["score"])
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "sweep.json", json.dumps(tried, indent=1).encode())
    write_atomically(
        out / "recipe.yaml", yaml.safe_dump({"model": "scenes"} | tried[0]["recipe"], sort_keys=False).encode()
    )
    table = Table("layer", "rank", "mu", "kind", "turned %", "gone %", "inside", "outside", "score")
    for one in tried[:12]:
        r = one["recipe"]
        kind = f"erase {r['erase']['units']}" if "erase" in r else f"copy of {r['copy']['seed']}"
        figures = [f"{100 * one['turned']:.1f}", f"{100 * one['gone']:.1f}"]
        figures += [f"{one[key]:.2f}" for key in ("inside", "outside", "score")]
        table.add_row(r["layer"], str(r["rank"]), str(r["mu"]), kind, *figures)
    Console().print(table)


def score(found: Effect, wish: Wish) -> float:
    """Share of pixels turned (gone, where nothing is to replace them), less .02 a grey level of change elsewhere."""
    return (found.turned if wish.replaced else found.gone) - 0.02 * found.outside


@app.command()
def measure(recipe: Path, name: Name, model: Model = "scenes", seeds: int = 1000, threads: int = 2) -> None:
    """One recipe on held-out seeds from 0, beside how often real scenes show the classes."""
    torch.set_num_threads(threads)
    generator, segment, wish = rewrite.load(model), scenes.segmenter(), WISHES[name]
    found = effect(generator, segment, rewrite.rule(generator, recipe), wish.source, wish.target, range(seeds))
    maps = render(range(1_000_000, 1_000_000 + seeds))[1]
    shown = {
        kind: float(((maps == CLASSES.index(kind)).sum((1, 2)) >= MANY).mean()) for kind in (wish.source, wish.target)
    }
    typer.echo(json.dumps(asdict(found) | {"real scenes that show it": shown}, indent=1))


if __name__ == "__main__":
    app()
