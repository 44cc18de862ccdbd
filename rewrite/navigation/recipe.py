"""What makes a direction again: the same that is asked of `rewrite navigate`, and which of what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from edits import EditError, canonical
from rewrite import regions
from rewrite.concepts import segmenter as named
from rewrite.generator import Generator, Noise
from rewrite.latents import SEED_LIMIT
from rewrite.navigation import where
from rewrite.navigation.methods import Options
from rewrite.progress import Progress
from rewrite.recipes import Asked, parsed

Known = Literal["scenes", "faces"]
"""Segmenters that are known by name alone: a recipe runs nobody's code."""
Count = Annotated[int, Field(ge=1, le=1024)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]
SEEDS = tuple(range(16))


class Search(BaseModel):
    """A search for directions, and one that it finds: the options of `rewrite navigate`, under the same names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    index: Annotated[int, Field(ge=0, lt=1024)] = 0
    """Which of those that the method finds, best first."""
    layers: tuple[str, ...] = ()
    count: Count = 16
    latents: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    net: str = "pd-lite0"
    size: Count | None = None
    ansatz: Count | None = None
    truncation: Finite = 1.0
    noise: Noise = "const"
    region: tuple[Fraction, Fraction, Fraction, Fraction] | str | None = None
    """A box x0, y0, x1, y1, or a PNG mask as a data URL."""
    region_seed: Seed | None = None
    """The one image that the region is painted on; a place on every image if left out."""
    label: Annotated[int, Field(ge=0)] | None = None
    """The class that a conditional model is held at."""
    segmenter: Known | None = None
    concept: str | None = None
    more: dict[str, Any] = Field(default_factory=dict, alias="with")
    distance: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """What strength 1 is, by the net; a tenth of what lies between two seeds if left out."""
    calibrate_on: Annotated[tuple[Seed, ...], Field(min_length=2)] = SEEDS
    eye: str | None = None
    """Features that tell what looks real: they are measured for the notes, and change nothing."""

    def options(self, device: str, progress: Progress) -> Options:
        """What the method is asked."""
        return Options(
            layers=self.layers, count=self.count, latents=self.latents, net=self.net, size=self.size,
            ansatz=self.ansatz, truncation=self.truncation, noise=self.noise,
            region=_where(self.region, self.region_seed),
            segmenter=named(self.segmenter, device=device) if self.segmenter else None, concept=self.concept,
            more=self.more, progress=progress,
        )  # fmt: skip


class Recipe(Asked):
    """One direction, and the strength that its edit has by itself."""

    direction: Search
    strength: Annotated[float, Field(ge=-100, le=100)] = 1.0


def written(
    generator: Generator, method: str, options: Options, *,
    segmenter: str | None, distance: float | None, seeds: Sequence[int], eye: str | None, index: int,
) -> dict[str, Any] | None:  # fmt: skip
    """The recipe of the direction at `index` of a search; None for a search that no recipe can hold.

    That is one by a callable, in a place that is no box and no mask. A segmenter that has no known name is left out:
    where the method needs one, nothing makes the direction again. RewriteError for a search that nobody can ask for.
    """
    place = None if options.region is None else options.region.recipe
    if options.region is not None and place is None:
        return None
    try:
        more = canonical.plain({name: value for name, value in options.more.items() if name != "cache"}, "with")
    except EditError:
        return None
    search = {
        "method": method, "index": index, "layers": list(options.layers), "count": options.count,
        "latents": options.latents, "net": options.net, "size": options.size, "ansatz": options.ansatz,
        "truncation": options.truncation, "noise": options.noise, "region": place,
        "region_seed": options.region.seed if options.region else None, "label": generator.held,
        "segmenter": segmenter if segmenter in get_args(Known) else None, "concept": options.concept, "with": more,
        "distance": distance, "calibrate_on": [int(seed) for seed in seeds], "eye": eye,
    }  # fmt: skip
    asked = {"model": generator.name or None, "direction": search}
    return parsed(Recipe, asked, "the recipe of this search").as_json()


def _where(region: tuple[float, float, float, float] | str | None, seed: int | None) -> where.Where | None:
    if region is None:
        return None
    if isinstance(region, str):
        regions.decode(region)
    found = where.mask(region) if isinstance(region, str) else where.box(region)
    return found if seed is None else found.on(seed)
