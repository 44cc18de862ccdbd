"""rewrite sample"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewrite.cli.arguments import Noise, Seeds, made_room, number
from rewrite.cli.generators import opened
from rewrite.cli.options import Device, EditOptions, Force, ModelName, PictureOut, SeedsOption
from rewrite.cli.voice import Voice

SHOWN = Seeds(tuple(range(16)))

Size = Annotated[int, typer.Option("--size", min=8, max=4096, help="Pixels of an image's longer side in the grid.")]
Truncation = Annotated[
    float,
    typer.Option(
        "--truncation", metavar="X", help="How far from the mean style: 1 is all the way.", parser=number
    ),
]  # fmt: skip
NoiseInputs = Annotated[Noise, typer.Option("--noise", help="The model's stored noise, or none.")]
Label = Annotated[int | None, typer.Option("--label", min=0, help="The class, for a conditional model.")]


def sample(
    voice: Voice,
    model: ModelName,
    out: PictureOut = Path("grid.png"),
    edit: EditOptions = None,
    seeds: SeedsOption = None,
    truncation: Truncation = 1.0,
    size: Size = 256,
    noise: NoiseInputs = Noise.const,
    label: Label = None,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Render a grid of images, edited or not."""
    import edits
    from rewrite.report import grid, render, save

    shown = (seeds or SHOWN).values
    pairs = [one.load() for one in edit or ()]
    generator = opened(voice, model, device)
    with edits.applied(generator.module, *pairs, force=force), voice.progress() as progress:
        images = render(
            generator, shown, size,
            truncation=truncation, noise=noise.value, label=label, progress=progress,
        )  # fmt: skip
    save(grid(images, shown, size), made_room(out))
    facts = {
        "out": str(out),
        "model": generator.name or model,
        "seeds": list(shown),
        "truncation": truncation,
        "noise": noise.value,
        "label": label,
        "edits": [
            {"content": one.content, "strength": one.strength if strength is None else strength}
            for one, strength in pairs
        ],
    }
    with_edits = f" with {len(pairs)} edit{'s' * (len(pairs) != 1)}" if pairs else ""
    voice.result(facts, f"{out}: {len(shown)} images of {facts['model']}{with_edits}")
