"""rewrite sample"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli.arguments import Noise, Numbers, Seeds, made_room, number, numbers
from rewrite.cli.generators import opened
from rewrite.cli.options import Device, EditOptions, Force, ModelName, PictureOut, SeedsOption
from rewrite.cli.voice import Voice

if TYPE_CHECKING:
    import edits
    from rewrite.generator import Generator

SHOWN = Seeds(tuple(range(16)))

Size = Annotated[int, typer.Option("--size", min=8, max=4096, help="Pixels of an image's longer side in the grid.")]
Truncation = Annotated[
    float,
    typer.Option(
        "--truncation", metavar="X", help="How far from the mean style: 1 is all the way.", parser=number
    ),
]  # fmt: skip
NoiseInputs = Annotated[Noise, typer.Option("--noise", help="The model's stored noise, or none.")]
Strengths = Annotated[
    Numbers | None,
    typer.Option(
        "--strengths", metavar="X,X,...", help="Strips: the one edit given, at each of these, a row a seed.",
        parser=numbers,
    ),
]  # fmt: skip
Label = Annotated[int | None, typer.Option("--label", min=0, help="The class, for a conditional model.")]


def sample(
    voice: Voice,
    model: ModelName,
    out: PictureOut = Path("grid.png"),
    edit: EditOptions = None,
    strengths: Strengths = None,
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

    if strengths is not None and len(edit or ()) != 1:
        raise typer.BadParameter(
            f"--strengths is for one --edit, and there are {len(edit or ())}; give one, or compose several into one"
        )
    if strengths is not None and edit and edit[0].strength is not None:
        raise typer.BadParameter(f"{str(edit[0].path)!r} has a strength of its own beside --strengths; leave one out")
    shown = (seeds or SHOWN).values
    pairs = [one.load() for one in edit or ()]
    generator = opened(voice, model, device)
    looks: dict[str, Any] = {"truncation": truncation, "noise": noise.value}
    if strengths is not None:
        looks |= {"label": None if label is None else [label], "force": force}
        picture = _strips(voice, generator, pairs[0][0], strengths, shown, size, looks)
    else:
        with edits.applied(generator.module, *pairs, force=force), voice.progress() as progress:
            images = render(generator, shown, size, **looks, label=label, progress=progress)
        picture = grid(images, shown, size)
    save(picture, made_room(out))
    facts = {
        "out": str(out),
        "model": generator.name or model,
        "seeds": list(shown),
        "truncation": truncation,
        "noise": noise.value,
        "label": label,
        "strengths": strengths and list(strengths.values),
        "edits": [
            {"content": one.content, "strength": one.strength if strength is None else strength}
            for one, strength in pairs
        ],
    }
    with_edits = f" with {len(pairs)} edit{'s' * (len(pairs) != 1)}" if pairs else ""
    voice.result(facts, f"{out}: {len(shown)} images of {facts['model']}{with_edits}")


def _strips(
    voice: Voice, generator: Generator, edit: edits.Edit, strengths: Numbers, seeds: tuple[int, ...], size: int,
    looks: dict[str, Any],
) -> Any:  # fmt: skip
    """A row a seed, a column a strength; the weights stay as they are."""
    from rewrite import live
    from rewrite.report import check_room, levels, sheet, shrink

    check_room(len(strengths.values), size, len(seeds))
    rows = []
    with voice.progress() as progress:
        for done, seed in enumerate(seeds):
            progress("strips", done, len(seeds))
            images = live.strip(generator, edit, strengths.values, generator.latents([seed]), **looks)
            rows.append((f"seed {seed}", levels(shrink(images.cpu(), size))))
        progress("strips", len(seeds), len(seeds))
    return sheet(rows, [f"{strength:g}" for strength in strengths.values], size)
