"""rewrite check"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewrite.cli import failure
from rewrite.cli.arguments import folder, number
from rewrite.cli.generators import opened
from rewrite.cli.options import Device, EditArguments, ModelName
from rewrite.cli.voice import Voice, facts_table, table

if TYPE_CHECKING:
    from rewrite.check import Place
    from rewrite.concepts import Segmenter
    from rewrite.generator import Generator

Folder = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The folder for verdict.json and the page.", parser=folder)
]
Region = Annotated[
    str | None,
    typer.Option("--region", metavar="R", help="Where it may act: x0,y0,x1,y1 in fractions, or a PNG mask."),
]
Concept = Annotated[
    str | None, typer.Option("--concept", metavar="C", help="Or: wherever a class of the segmenter is.")
]
SegmenterName = Annotated[
    str | None,
    typer.Option("--segmenter", metavar="S", help="Names the classes: scenes, faces, hf:NAME, a folder, MODULE:NAME."),
]
Samples = Annotated[int, typer.Option("--samples", "-n", min=8, help="Seeds to begin with.")]
Cap = Annotated[int, typer.Option("--cap", min=8, help="Seeds at most, where more are needed to decide.")]
First = Annotated[int, typer.Option("--first", min=0, help="The first seed.")]
Eye = Annotated[str, typer.Option("--eye", metavar="NAME", help="Features for the distances: lite0, inception, ...")]
Distance = Annotated[
    str, typer.Option("--distance", metavar="NAME", help="Between two images: pd-lite0, lpips-alex, lpips-vgg, ...")
]
BoundsFile = Annotated[Path | None, typer.Option("--bounds", metavar="FILE", help="Limits to judge by.")]
WriteBounds = Annotated[
    bool, typer.Option("--write-bounds", help="Write bounds.json beside the edit: what was found, with some room.")
]
Truncation = Annotated[
    float, typer.Option("--truncation", metavar="X", help="How far from the mean style.", parser=number)
]


def check(
    voice: Voice,
    model: ModelName,
    edit: EditArguments,
    out: Folder = Path("check"),
    region: Region = None,
    concept: Concept = None,
    segmenter: SegmenterName = None,
    samples: Samples = 1000,
    cap: Cap = 4000,
    first: First = 0,
    eye: Eye = "lite0@64/320",
    distance: Distance = "pd-lite0",
    truncation: Truncation = 1.0,
    bounds: BoundsFile = None,
    write_bounds: WriteBounds = False,
    device: Device = "cpu",
) -> None:
    """Judge what edits changed and what they left alone.

    Same seeds with and without them. Exit code 0 is PASS, 1 FAIL, 3 undecided after the last seed.
    """
    from rewrite import check as gate
    from rewrite.check.bounds import measured
    from rewrite.check.findings import LEAST_EFFECT, limits_of
    from rewrite.judged import keep

    if region and concept:
        raise typer.BadParameter("--region and --concept both say where the edit may act; give one of them")
    if write_bounds and len(edit) != 1:
        raise typer.BadParameter("--write-bounds writes beside one edit; compose them first")
    beside = edit[0].path.with_name("bounds.json")
    if write_bounds and beside.exists():
        raise typer.BadParameter(f"{beside} is there already; move it away to measure new bounds")
    pairs = [one.load() for one in edit]
    generator = opened(voice, model, device)
    judge = _segmenter(generator, segmenter, needed=concept is not None)
    view = gate.view(
        eye=eye, distance=distance, device=device, place=_place(region, concept, judge, segmenter or "scenes"),
        segmenter=judge, truncation=truncation,
    )  # fmt: skip
    limits = gate.read_bounds(bounds) if bounds else None
    with voice.progress() as progress:
        verdict = gate.check(
            generator,
            pairs,
            view,
            samples=samples,
            cap=max(cap, samples),
            first=first,
            bounds=limits,
            progress=progress,
        )
    page = keep(generator, pairs, verdict, out)
    if write_bounds:
        found = verdict.findings
        measured(found, limits_of(found), pairs[0][0].content, dict(verdict.conditions)).save(beside)
    rows = [
        (
            one.name,
            f"{one.finding.value:.3g}",
            f"{one.finding.low:.3g} to {one.finding.high:.3g}",
            one.asked,
            one.outcome,
        )
        for one in verdict.judgements
    ]
    effect = verdict.findings["effect"]
    weak = "" if effect.low > LEAST_EFFECT else ": none that shows"
    summary = [
        ("verdict", verdict.outcome),
        ("effect", f"{effect.value:.3g} of JPEG-95{weak}"),
        ("seeds", len(verdict.seen.seeds)),
        ("page", str(page)),
    ]
    voice.result(
        verdict.facts | {"out": str(out)},
        facts_table(summary),
        table(("finding", "value", "95 % interval", "limit", "verdict"), rows),
    )
    code = {"PASS": failure.SUCCESS, "FAIL": failure.FAILED_CHECK, "MORE": failure.UNDECIDED}[verdict.outcome]
    if code:
        raise typer.Exit(code)


def _segmenter(generator: Generator, name: str | None, *, needed: bool) -> Segmenter | None:
    name = name or ("scenes" if generator.name == "scenes" else None)
    if name is None:
        if needed:
            raise typer.BadParameter("--concept needs a --segmenter that knows it")
        return None
    from rewrite.concepts import segmenter

    return segmenter(name)


def _place(region: str | None, concept: str | None, segmenter: Segmenter | None, named: str) -> Place | None:
    from rewrite import check as gate
    from rewrite import regions

    if concept and segmenter:
        return gate.concept(segmenter, concept, of=named)
    if region is None:
        return None
    parts = region.split(",")
    if len(parts) == 4:
        return gate.box([float(number(part)) for part in parts])
    return gate.mask(regions.inline(region, Path()), f"mask {Path(region).name}")
