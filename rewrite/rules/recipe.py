"""A recipe says which rule to write: what to copy, where to paste it, in which context, into which layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, model_validator
from torch import Tensor

from rewrite import regions
from rewrite.errors import RewriteError
from rewrite.latents import ROW_LIMIT, SEED_LIMIT, Name, Row, Vector

Seed = Annotated[StrictInt, Field(ge=0, lt=SEED_LIMIT)]
Fraction = Annotated[float, Field(ge=-1, le=2, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Latent = Annotated[float, Field(ge=-1000, le=1000)]
Strength = Annotated[float, Field(ge=-100, le=100)]
LEAST_AREA = 1e-9


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Region(_Strict):
    """A part of one generated image: a latent (seed; stream and row; or a stored vector) and a shape on it.

    The shape is a box [x0, y0, x1, y1] or a polygon of (x, y) points, in fractions of the image from its top left
    corner, or a PNG mask (a path, inlined on reading, or a data URL).
    """

    seed: Seed | None = None
    stream: Seed | None = None
    row: Annotated[StrictInt, Field(ge=0, lt=ROW_LIMIT)] | None = None
    vector: tuple[Latent, ...] | None = None
    label: Annotated[StrictInt, Field(ge=0)] | None = None
    box: tuple[Fraction, Fraction, Fraction, Fraction] | None = None
    polygon: Annotated[tuple[tuple[Fraction, Fraction], ...], Field(min_length=3)] | None = None
    mask: str | None = None

    @model_validator(mode="after")
    def _one_latent_one_shape(self) -> Self:
        if (self.stream is None) != (self.row is None):
            raise ValueError("stream and row belong together")
        if sum(value is not None for value in (self.seed, self.stream, self.vector)) != 1:
            raise ValueError("a region has one latent: a seed, a stream and row, or a vector")
        if sum(value is not None for value in (self.box, self.polygon, self.mask)) != 1:
            raise ValueError("a region has one shape: a box, a polygon or a mask")
        if self.box and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError(f"box {list(self.box)} covers nothing; a box is [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
        if self.polygon and _area(self.polygon) < LEAST_AREA:
            raise ValueError("the polygon covers nothing; its points lie on a line")
        return self

    @property
    def latent(self) -> Name:
        if self.vector is not None:
            return Vector(self.vector)
        return Row(self.stream, self.row or 0) if self.stream is not None else self.seed or 0

    @property
    def latent_name(self) -> str:
        if self.vector is not None:
            return "a stored latent"
        return f"row {self.row} of stream {self.stream}" if self.stream is not None else f"seed {self.seed}"

    def coverage(self, resolution: tuple[int, int], margin: int = 0) -> Tensor:
        """Share of each cell (H, W) that the shape covers, float64 in [0, 1]; RewriteError if it covers nothing.

        `margin` cells on each side lie beyond the image, and are not covered.
        """
        resolution = (resolution[0] - 2 * margin, resolution[1] - 2 * margin)
        if self.box is not None:
            covered = regions.box_coverage(self.box, resolution)
        elif self.polygon is not None:
            covered = regions.polygon_coverage(self.polygon, resolution)
        else:
            covered = regions.mask_coverage(self.mask or "", resolution)
        if not covered.any():
            shape = next(name for name in ("box", "polygon", "mask") if getattr(self, name) is not None)
            raise RewriteError(
                f"the {shape} on {self.latent_name} covers nothing; draw it inside the image, larger than a point"
            )
        return F.pad(covered, (margin,) * 4)


class Erase(_Strict):
    """No copy: what the generator makes there without the `units` most peculiar to the context."""

    units: Annotated[StrictInt, Field(ge=1)] = 30


class Recipe(_Strict):
    """The whole request for a rule. `auto` leaves a choice to the figures (`rewrite.rules.auto`)."""

    model: str | None = None
    layer: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """A layer's name, or several for `auto` to choose from."""
    source: Region | None = Field(default=None, alias="copy")
    erase: Erase | None = None
    paste: Annotated[tuple[Region, ...], Field(min_length=1)]
    context: Annotated[tuple[Region, ...], Field(min_length=1)] | None = None
    """Where the rule applies; the paste regions if left out."""
    rank: Annotated[StrictInt, Field(ge=1)] | Literal["full", "auto"] = "auto"
    mu: Amount | Literal["auto"] = "auto"
    """Weight of the expected change everywhere else."""
    nu: Amount | Literal["auto"] = "auto"
    """Weight of the growth of the weight's norm, where the layer demodulates."""
    eps: Amount = 1e-5
    """Ridge on the moments, relative to their mean variance."""
    strength: Strength | Literal["auto"] = 1.0
    truncation: Finite = 1.0
    fit: Literal["move", "stretch"] = "move"
    """Whether the copied object keeps its size or takes the paste region's."""
    samples: Annotated[StrictInt, Field(ge=1, lt=ROW_LIMIT)] = 512
    """Images that the moments are taken over."""
    method: Literal["closed", "gradient"] = "closed"
    """`gradient` is the published descent, with the published constants."""
    steps: Annotated[StrictInt, Field(ge=1)] = 2001
    """Of the descent."""

    @model_validator(mode="after")
    def _copy_or_erase(self) -> Self:
        if (self.source is None) == (self.erase is None):
            raise ValueError("a recipe has either a copy or an erase, one of the two")
        if self.strength == 0:
            raise ValueError("strength 0 is no rule; give another, or leave it out for 1")
        return self

    @property
    def where(self) -> tuple[Region, ...]:
        """The context's regions."""
        return self.context or self.paste

    def as_json(self) -> dict[str, Any]:
        """Everything, defaults included, as JSON that `parse` reads back to an equal recipe."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def parse(value: Any, *, folder: Path = Path(), origin: str = "the recipe") -> Recipe:
    """A recipe from plain data, mask files (relative to `folder`) inlined; RewriteError names the field at fault."""
    if isinstance(value, Recipe):
        value = value.as_json()
    if not isinstance(value, dict):
        raise RewriteError(f"{origin} is {type(value).__name__}; expected a mapping with model, layer, copy and paste")
    try:
        return Recipe.model_validate(_inlined(value, folder))
    except ValidationError as error:
        raise RewriteError(f"{origin}: {_first(error)}") from None


def _area(polygon: Sequence[Sequence[float]]) -> float:
    """Of a polygon without crossings, by the shoelace formula."""
    turned = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in turned)) / 2


def _inlined(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {
            key: regions.inline(item, folder) if key == "mask" and isinstance(item, str) else _inlined(item, folder)
            for key, item in value.items()
        }
    return [_inlined(item, folder) for item in value] if isinstance(value, list | tuple) else value


def _first(error: ValidationError) -> str:
    """The first complaint, as a sentence that names the field."""
    detail = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in detail["loc"] if str(part) in _FIELDS or isinstance(part, int))
    if detail["type"] == "extra_forbidden":
        return f"unknown field {detail['loc'][-1]!r}{f' in {where}' if where else ''}; fields are {_fields(where)}"
    if detail["type"] == "missing":
        return f"{where or detail['loc'][-1]} is missing"
    if detail["type"] == "int_type":
        return f"{where} is {str(detail['input'])[:60]!r}; expected a whole number"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where} is {str(detail['input'])[:60]!r}; {message[0].lower()}{message[1:]}"


_REGION_FIELDS = tuple(Region.model_fields)
_RECIPE_FIELDS = tuple(field.alias or name for name, field in Recipe.model_fields.items())
_FIELDS = {*_REGION_FIELDS, *_RECIPE_FIELDS, *Erase.model_fields}


def _fields(where: str) -> str:
    if where.split(".")[0] == "erase":
        return ", ".join(Erase.model_fields)
    return ", ".join(_REGION_FIELDS if where else _RECIPE_FIELDS)
