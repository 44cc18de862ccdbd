"""rewrite rule"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rewrite.cli import arguments
from rewrite.cli.arguments import Seeds, amount, apart, made_room, number
from rewrite.cli.generators import opened
from rewrite.cli.options import Device, EditOut, ModelName, PreviewOut, PreviewSeeds
from rewrite.cli.voice import Voice, facts_table

PREVIEW_SIZE = 192
PREVIEW = Seeds(tuple(range(100, 108)))

RecipeFile = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A YAML file, or a mask file of the rewriting project.")
]
Layers = Annotated[str | None, typer.Option(metavar="NAME[,NAME]", help="Layer, or several to choose from.")]
Rank = Annotated[Any, typer.Option(metavar="N|full|auto", help="Rank of the change.", parser=arguments.rank)]
Mu = Annotated[Any, typer.Option(metavar="X|auto", help="Weight of the change elsewhere.", parser=amount)]
Nu = Annotated[Any, typer.Option(metavar="X|auto", help="Weight of the norm's growth.", parser=amount)]
Truncation = Annotated[
    float | None, typer.Option(metavar="X", help="Truncation of the recipe's images.", parser=number)
]
Strength = Annotated[Any, typer.Option(metavar="X|auto", help="The edit's own strength.", parser=amount)]


def rule(
    voice: Voice,
    model: ModelName,
    recipe: RecipeFile,
    out: EditOut,
    layer: Layers = None,
    rank: Rank = None,
    mu: Mu = None,
    nu: Nu = None,
    truncation: Truncation = None,
    strength: Strength = None,
    preview: PreviewOut = None,
    preview_seeds: PreviewSeeds = None,
    device: Device = "cpu",
) -> None:
    """Write a rule into a model, as an edit.

    What --layer, --rank, --mu, --nu, --truncation and --strength say stands in place of what the recipe says.
    """
    apart(MODEL=Path(model), RECIPE=recipe, **{"--out": out, "--preview": preview})
    from rewrite import rules
    from rewrite.report import compared, save, sheet

    said = rules.read(
        recipe,
        layer=layer and (layer.split(",") if "," in layer else layer),
        rank=rank,
        mu=mu,
        nu=nu,
        truncation=truncation,
        strength=strength,
    )
    generator = opened(voice, model, device)
    with voice.progress() as progress:
        edit = rules.rule(generator, said, progress=progress)
    edit.save(made_room(out))
    if preview is not None:
        rows = {"base": (), out.stem: [(edit, None)]}
        seeds = (preview_seeds or PREVIEW).values
        with voice.progress() as progress:
            images = compared(
                generator, rows, seeds, PREVIEW_SIZE,
                truncation=said.truncation, label=said.paste[0].label, progress=progress,
            )  # fmt: skip
        save(sheet(images, seeds, PREVIEW_SIZE), made_room(preview))
    facts = {
        "out": str(out),
        "bytes": out.stat().st_size,
        "content": edit.content,
        "strength": edit.strength,
        "notes": dict(edit.notes),
        "preview": preview and str(preview),
    }
    voice.result(facts, facts_table(_lines(facts)))


def _lines(facts: dict[str, Any]) -> list[tuple[str, object]]:
    notes = dict(facts["notes"])
    auto = notes.pop("auto", None) or {}
    chosen = ", ".join(f"{key} {auto[key]}" for key in ("layer", "rank", "mu", "nu", "strength") if key in auto)
    return [
        ("edit", f"{facts['out']}, {facts['bytes']:,} bytes"),
        ("content", facts["content"]),
        ("strength", facts["strength"]),
        *((key.replace("_", " "), value) for key, value in notes.items()),
        ("auto chose", chosen),
        ("because", auto.get("said")),
        ("preview", facts["preview"]),
    ]
