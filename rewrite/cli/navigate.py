"""rewrite navigate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from rewrite.cli.arguments import Noise, Numbers, Seeds, folder, number, numbers, seeds
from rewrite.cli.generators import opened
from rewrite.cli.options import Device, ModelName
from rewrite.cli.voice import Voice, brief, facts_table, table

if TYPE_CHECKING:
    from rewrite.generator import Generator
    from rewrite.navigation import Direction, Where

NONE = "none"

MethodName = Annotated[
    str, typer.Option("--method", "-m", metavar="M", help="spectrum, hessian, learned, concept, sefa, ganspace, ...")
]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", "-l", metavar="NAME[,NAME]", help="Its layer, or layers; may be given again."),
]
Count = Annotated[int, typer.Option("--count", "-k", min=1, max=1024, help="Directions at most.")]
Folder = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", help="The folder for the gallery and the edits.", parser=folder),
]
Region = Annotated[
    str | None,
    typer.Option(
        "--region", metavar="R", help="Where change counts: x0,y0,x1,y1 or a PNG mask; after SEED: on its image."
    ),
]
ClassLabel = Annotated[
    int | None, typer.Option("--class", min=0, metavar="N", help="The class that a conditional model is held at.")
]
Concept = Annotated[str | None, typer.Option("--concept", metavar="C", help="A class of the segmenter.")]
SegmenterName = Annotated[
    str | None,
    typer.Option(
        "--segmenter", metavar="S", help="Labels the directions: scenes, faces, hf:NAME, a folder, MODULE:NAME."
    ),
]
Net = Annotated[
    str, typer.Option("--net", metavar="NAME", help="What change is measured by: pixels, pd-lite0, lpips-alex, ...")
]
Size = Annotated[int | None, typer.Option("--size", min=1, help="Side in px that it looks at; 256 if left out.")]
Latents = Annotated[int, typer.Option("--latents", "-n", min=1, help="Seeds that the method looks at.")]
Ansatz = Annotated[int | None, typer.Option("--ansatz", min=1, metavar="R", help="Rank of the change that is sought.")]
Distance = Annotated[
    float | None, typer.Option("--distance", metavar="X", help="What strength 1 is, in --net.", parser=number)
]
Bench = Annotated[
    Seeds | None,
    typer.Option(
        "--calibrate-on", metavar="SEEDS", help="Seeds that strengths are measured on.", parser=seeds,
        show_default="0-15",
    ),
]  # fmt: skip
Eye = Annotated[str, typer.Option("--eye", metavar="NAME", help="Features that tell what looks real, or none.")]
ShownSeeds = Annotated[
    Seeds | None,
    typer.Option("--seeds", metavar="SEEDS", help="Seeds that are shown.", parser=seeds, show_default="0-2"),
]
Strengths = Annotated[
    Numbers | None,
    typer.Option("--strengths", metavar="X,X", help="Strengths that are shown.", parser=numbers),
]
ImageSize = Annotated[int, typer.Option("--image-size", min=16, max=1024, help="Side of an image on the page, in px.")]
Truncation = Annotated[
    float, typer.Option("--truncation", metavar="X", help="How far from the mean style.", parser=number)
]
Strips = Annotated[bool, typer.Option("--strips", help="Each direction as a PNG too.")]
Animated = Annotated[bool, typer.Option("--gif", help="Each direction as a GIF too.")]
NoiseOption = Annotated[Noise, typer.Option(help="What noise inputs hold.")]
More = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="KEY=VALUE", help="What only this method knows; may be given again."),
]


def navigate(
    voice: Voice,
    model: ModelName,
    method: MethodName,
    out: Folder,
    layer: Layers = None,
    count: Count = 8,
    label: ClassLabel = None,
    region: Region = None,
    concept: Concept = None,
    segmenter: SegmenterName = None,
    net: Net = "pd-lite0",
    size: Size = None,
    latents: Latents = 64,
    ansatz: Ansatz = None,
    distance: Distance = None,
    calibrate_on: Bench = None,
    eye: Eye = "lite0@64/320",
    shown: ShownSeeds = None,
    strengths: Strengths = None,
    image_size: ImageSize = 128,
    truncation: Truncation = 1.0,
    noise: NoiseOption = Noise.const,
    more: More = None,
    strips: Strips = False,
    gif: Animated = False,
    device: Device = "cpu",
) -> None:
    """Find directions that a model can be moved in, as edits with a strength that means something.

    The folder gets gallery.html, gallery.json and edits/. An interrupted search goes on where it was.
    """
    from rewrite import gallery
    from rewrite.navigation import methods
    from rewrite.navigation import navigate as find
    from rewrite.navigation.recipe import SEEDS

    methods.method(method)
    asked = _pairs(more or [])
    folder(out / gallery.FOLDER)
    generator = opened(voice, model, device)
    if generator.classes and label is None:
        raise typer.BadParameter(f"{model} is conditional; hold it at one of --class 0 to {generator.classes - 1}")
    generator = generator if label is None else generator.of_class(label)
    view = gallery.Shown(
        seeds=(shown or Seeds(gallery.SEEDS)).values, size=image_size,
        strengths=strengths.values if strengths else gallery.STRENGTHS, truncation=truncation,
        noise=noise.value, strips=strips, animated=gif,
    )  # fmt: skip
    names = tuple(name for each in layer or [] for name in each.split(","))
    with voice.progress() as progress:
        found = find(
            generator, method=method, strength=distance, seeds=(calibrate_on or Seeds(SEEDS)).values,
            eye=None if eye == NONE else eye,
            layers=names, count=count, latents=latents, net=net, size=size, ansatz=ansatz, truncation=truncation,
            noise=noise.value, region=_where(region), segmenter=_segmenter(generator, segmenter),
            concept=concept, more=asked, progress=progress,
        )  # fmt: skip
        facts = {
            "model": generator.name, "method": method, "layers": list(names), "latents": latents, "net": net,
            "class": label, "region": region, "concept": concept, "truncation": truncation, "with": asked,
        }  # fmt: skip
        page = gallery.gallery(
            generator, found, out, title=f"{method} of {generator.name or model}", about=_about(names, found),
            facts=facts, shown=view, progress=progress,
        )  # fmt: skip
    rows = [
        (one.name, one.label.says if one.label else None, *brief(one.calibration.reached, one.calibration.lowest,
         one.calibration.highest), ", ".join(one.same) or None)
        for one in found
    ]  # fmt: skip
    voice.result(
        facts | {"page": str(page), "directions": [one.as_json() for one in found]},
        facts_table([("page", str(page)), ("directions", len(found))]),
        table(("direction", "label", "distance at 1", "usable from", "to", "the same as"), rows),
    )


def _about(layers: tuple[str, ...], found: list[Direction]) -> str:
    where = f" at {', '.join(layers)}" if layers else ""
    return (
        f"{len(found)} directions{where}. Each row is a seed, each column a strength; strength 0 is the model as it is."
    )


def _pairs(given: list[str]) -> dict[str, Any]:
    """What --with says: a name, and a value read as YAML."""
    found = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{one!r} is no KEY=VALUE; give one, like steps=2000")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise typer.BadParameter(f"{value!r} is no value for {key}; give a number, a word or a list") from None
    return found


def _segmenter(generator: Generator, name: str | None) -> str | None:
    return name or ("scenes" if generator.name == "scenes" else None)


def _where(region: str | None) -> Where | None:
    from rewrite import regions
    from rewrite.navigation import where

    if region is None:
        return None
    seed, colon, place = region.partition(":")
    if colon and seed.isdecimal():
        (one,) = seeds(seed).values
        found = _where(place)
        return found.on(one) if found else None
    parts = region.split(",")
    if len(parts) == 4:
        return where.box([number(part) for part in parts])
    return where.mask(regions.inline(region, Path()))
