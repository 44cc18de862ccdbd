"""rewrite audit"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewrite.cli.arguments import Noise, folder, number
from rewrite.cli.generators import opened
from rewrite.cli.names import named
from rewrite.cli.options import Device, EditOptions, ModelName
from rewrite.cli.voice import Voice, facts_table, table

if TYPE_CHECKING:
    from rewrite.units import Audit

Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", "-l", metavar="NAME[,NAME]", help="A layer, or layers; all with feature maps if left out."),
]
Samples = Annotated[int, typer.Option("--samples", "-n", min=1, help="Images that units are scored on.")]
Choose = Annotated[
    int | None,
    typer.Option("--choose", min=1, help="Other images, that thresholds come from; as many, 1000 at most."),
]
SegmenterName = Annotated[
    str | None,
    typer.Option("--segmenter", metavar="S", help="Names concepts: scenes, faces, hf:NAME, a folder, MODULE:NAME."),
]
GroupsFile = Annotated[
    Path | None, typer.Option("--groups", metavar="FILE", help="YAML that takes its classes together.")
]
Folder = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for the page and the figures.", parser=folder)
]
ProtocolName = Annotated[
    str, typer.Option("--protocol", metavar="P", help="How thresholds are chosen: iqr, quantile, dissect.")
]
Causing = Annotated[
    int, typer.Option("--cause", metavar="N", min=0, help="Units of each concept that are silenced one by one.")
]
CauseSamples = Annotated[int, typer.Option("--cause-samples", min=1, help="Images that these are silenced on.")]
Pictures = Annotated[int, typer.Option("--pictures", min=0, help="Images on the page, at most.")]
Truncation = Annotated[
    float, typer.Option("--truncation", metavar="X", help="How far from the mean style.", parser=number)
]
NoiseOption = Annotated[Noise, typer.Option(help="What noise inputs hold.")]


def audit(
    voice: Voice,
    model: ModelName,
    layer: Layers = None,
    samples: Samples = 1000,
    choose: Choose = None,
    segmenter: SegmenterName = None,
    groups: GroupsFile = None,
    edit: EditOptions = None,
    out: Folder = Path("audit"),
    protocol: ProtocolName = "iqr",
    cause: Causing = 1,
    cause_samples: CauseSamples = 128,
    pictures: Pictures = 400,
    truncation: Truncation = 1.0,
    noise: NoiseOption = Noise.const,
    device: Device = "cpu",
) -> None:
    """Find which units of which layers mean what, and how edits change that.

    The folder gets index.html, audit.json and units.csv. An interrupted audit goes on where it was.
    """
    from rewrite import audited
    from rewrite.units import audit as measure
    from rewrite.units import caused
    from rewrite.units.make import named as judge_named

    given = edit or []
    changes = [one.load() for one in given]
    generator = opened(voice, model, device)
    source = segmenter or ("scenes" if generator.name == "scenes" else None)
    names = tuple(name for each in layer or [] for name in each.split(","))
    with voice.progress() as progress:
        found = measure(
            generator, segmenter=source, groups=groups, layers=names or None, samples=samples, choose=choose,
            edit=changes, method=protocol, truncation=truncation, noise=noise.value, progress=progress,
        )  # fmt: skip
        if source is not None and cause:
            judge, _ = judge_named(source, groups, device=device, progress=progress)
            assert judge is not None
            found = caused(generator, found, judge, each=cause, samples=cause_samples, progress=progress)
        titles = named(given, [one for one, _ in changes])
        page = audited.keep(
            generator, found, out, changes=changes, names=titles, most=pictures, progress=progress
        )  # fmt: skip
    if source is None:
        voice.note("no segmenter: units are known by the images that they are most on for; --segmenter names them")
    facts = _facts(found, out, page)
    voice.result(facts, facts_table(_summary(found, page)), *_tables(found, facts))


def _facts(found: Audit, out: Path, page: Path) -> dict[str, Any]:
    """What was found, in short: all of it is in audit.json."""
    whole = found.as_json()
    return {
        "out": str(out),
        "page": str(page),
        "model": found.model,
        "layers": [
            {"name": layer.name, "grid": list(layer.grid), "units": len(layer.units), "concepts": layer.concepts}
            for layer in found.layers
        ],
        "areas": whole["areas"],
        "edits": whole["edits"],
        "changed": [{"layer": layer, "unit": unit, "change": round(change, 6)}
                    for change, layer, unit in found.changed()[:20] if change],
        "settings": whole["settings"],
    }  # fmt: skip


def _summary(found: Audit, page: Path) -> list[tuple[str, object]]:
    units = [unit for layer in found.layers for unit in layer.units]
    meant = sum(unit.meaning.holds for unit in units)
    return [
        ("page", str(page)),
        ("units", f"{len(units):,}" + (f", of which {meant:,} mean a concept" if found.concepts else "")),
    ]


def _tables(found: Audit, facts: Mapping[str, Any]) -> list[Any]:
    told = [", ".join(f"{name} {count}" for name, count in layer.concepts.items()) for layer in found.layers]
    rows = [
        (layer.name, "{} x {}".format(*layer.grid), len(layer.units), concepts or None)
        for layer, concepts in zip(found.layers, told, strict=True)
    ]
    made = [table(("layer", "grid", "units", "mean"), rows)]
    if found.edits:
        areas = [(area.concept, *(f"{100 * share:.2f} %" for share in (area.before, area.after)),
                  f"{100 * area.change:+.3f} ± {100 * area.error:.3f}") for area in found.areas]  # fmt: skip
        made += [table(("concept", "before", "after", "change"), areas)] if areas else []
        changed = [tuple(one.values()) for one in facts["changed"][:8]]
        made += [table(("layer", "unit", "change"), changed)] if changed else []
    return made
