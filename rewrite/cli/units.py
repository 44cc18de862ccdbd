"""rewrite units ablate, scale, set"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli.arguments import Noise, Numbers, apart, made_room, numbers
from rewrite.cli.generators import opened
from rewrite.cli.options import Device, EditOut, ModelName
from rewrite.cli.verb import spoken
from rewrite.cli.voice import Voice, facts_table

if TYPE_CHECKING:
    from rewrite.units.recipe import Verb

MOST = 65_536
_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", re.ASCII)


class Listed(tuple[int, ...]):
    """Units in the order they were given."""


def listed(text: str) -> Listed:
    """Units from '7', '0-15' or '3,7,20-25'."""
    found: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or not int(match[1]) <= int(match[2] or match[1]) < MOST:
            raise typer.BadParameter(f"{part!r} is no unit; give whole numbers and ranges that go up, like 3,7,20-25")
        found.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return Listed(found)


LayerName = Annotated[str, typer.Option("--layer", "-l", metavar="NAME", help="The layer whose units they are.")]
Units = Annotated[Listed, typer.Option("--units", "-u", metavar="UNITS", help="Units: 3,7,20-25.", parser=listed)]
Factors = Annotated[
    Numbers, typer.Option("--by", metavar="X[,X]", help="The factor, 0 or more, or one a unit.", parser=numbers)
]
Levels = Annotated[
    Numbers, typer.Option("--to", metavar="X[,X]", help="The value everywhere, or one a unit.", parser=numbers)
]
NoiseOption = Annotated[Noise, typer.Option(help="What noise inputs hold while the edit is tried out.")]

units = typer.Typer(
    name="units", help="Units of a layer silenced, scaled or held at a value, as an edit.",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip


def ablate(
    voice: Voice, model: ModelName, layer: LayerName, chosen: Units, out: EditOut, noise: NoiseOption = Noise.const,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Silence units: they are 0 everywhere in every image."""
    _change(voice, model, layer, chosen, "ablate", None, out, noise, device)


def scale(
    voice: Voice, model: ModelName, layer: LayerName, chosen: Units, by: Factors, out: EditOut,
    noise: NoiseOption = Noise.const, device: Device = "cpu",
) -> None:  # fmt: skip
    """Multiply units by a factor; the edit's strength goes from none of it to all."""
    _change(voice, model, layer, chosen, "scale", by, out, noise, device)


def set_(
    voice: Voice, model: ModelName, layer: LayerName, chosen: Units, to: Levels, out: EditOut,
    noise: NoiseOption = Noise.const, device: Device = "cpu",
) -> None:  # fmt: skip
    """Hold units at a value everywhere in every image."""
    _change(voice, model, layer, chosen, "set", to, out, noise, device)


for verb in (ablate, scale, set_):
    units.command(verb.__name__.rstrip("_"))(spoken(verb))


def _change(
    voice: Voice, model: str, layer: str, chosen: Listed, verb: Verb, values: Numbers | None, out: Path, noise: Noise,
    device: str,
) -> None:  # fmt: skip
    apart(MODEL=Path(model), **{"--out": out})
    from rewrite.units import change

    generator = opened(voice, model, device)
    value = None if values is None else values.values
    with voice.progress() as progress:
        edit = change(generator, layer, chosen, verb, value, noise=noise.value, progress=progress)
    edit.save(made_room(out))
    facts: dict[str, Any] = {
        "out": str(out),
        "bytes": out.stat().st_size,
        "content": edit.content,
        "notes": dict(edit.notes),
    }
    voice.result(facts, facts_table(_lines(facts)))


def _lines(facts: dict[str, Any]) -> list[tuple[str, object]]:
    notes = facts["notes"]
    exact = "yes" if notes["exact"] else f"no: {notes['why']}"
    return [
        ("edit", f"{facts['out']}, {facts['bytes']:,} bytes"),
        ("content", facts["content"]),
        ("exact", exact),
        ("differs by", f"{notes['largest_difference']:.3g} at most, where the units do {notes['largest_effect']:.3g}"),
    ]
