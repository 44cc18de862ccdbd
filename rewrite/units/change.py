"""Unit edits: units ablated, scaled or set to a value, as a change of weights; and how exactly it is one.

What stored numbers do it is the layer's to say (`rewrite.generator.UnitForm`). Whether they do is tried out: the edited
network beside one whose units are replaced as it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, get_args

import torch
from torch import Tensor

import edits
from edits import Scale, Set, Slices
from edits.identity import state
from edits.operations import Operation
from rewrite.errors import RewriteError
from rewrite.generator import Entries, Generator, Layer, Noise, UnitForm
from rewrite.progress import Progress, quiet
from rewrite.recipes import parsed
from rewrite.units.features import Held, Site, World, passes, sites
from rewrite.units.recipe import Recipe, Verb

Values = float | Sequence[float]
CHECKED = 16
"""Images that an edit is tried out on."""
CHECKING = 4
"""The stream that they are rows of."""
ROUNDING = 2e-5
"""Largest difference of images, which go from -1 to 1, that is still rounding."""
RELATIVE = 0.01
"""A difference of this share of what the units do is none of rounding, however small both are."""
FLOOR = 2e-6
"""Largest difference of images that is rounding whatever the units do: a few steps of float32 near 1."""
LARGEST = torch.finfo(torch.float32).max
UNEXPLAINED = "something else than the layer's stored numbers has a hand in its units"


@dataclass(frozen=True)
class Fidelity:
    """A unit edit beside the same units replaced as the network runs, on the same latents."""

    difference: float
    """Largest, of any number of the images."""
    effect: float
    """Largest difference that replacing the units makes at all."""
    images: int

    @property
    def exact(self) -> bool:
        return self.difference <= min(ROUNDING, max(self.effect * RELATIVE, FLOOR))


def change(
    generator: Generator,
    layer: str,
    units: Iterable[int],
    verb: Verb,
    value: Values | None = None,
    *,
    noise: Noise = "const",
    progress: Progress = quiet,
) -> edits.Edit:
    """The edit that ablates units, scales them by the factor `value` (0 or more), or sets them to `value` everywhere.

    `value` is one number, or one for each unit. The edit's notes say whether it is exactly that, as tried out on 16
    images, or how far from it at most and why; its recipe makes it again. RewriteError for units, values or layers that
    this cannot be done to.
    """
    (site,) = sites(generator, [layer]).values()
    form = _form(site.layer)
    chosen = _chosen(site, list(units), verb, value)
    operations = _operations(generator, site.layer, form, chosen, verb)
    above = [name for name in (*site.layer.upstream, site.layer.weight, site.layer.bias) if name]
    base = edits.describe(generator.module, operations, above, generator.architecture)
    found = fidelity(generator, site, chosen, verb, edits.Edit(operations, base), noise=noise, progress=progress)
    notes: dict[str, Any] = {
        "layer": layer,
        "exact": found.exact,
        "largest_difference": _short(found.difference),
        "largest_effect": _short(found.effect),
        "checked_on": {"stream": CHECKING, "rows": found.images, "noise": noise},
    }
    return edits.Edit(
        operations,
        base,
        recipe=_recipe(generator, layer, chosen, verb, noise),
        made_by={"tool": "rewrite", "version": version("rewrite"), "verb": f"units {verb}"},
        notes=notes if found.exact else notes | {"why": form.caveats.get(verb, UNEXPLAINED)},
    )


def again(generator: Generator, recipe: Any, *, progress: Progress = quiet) -> edits.Edit:
    """The edit that a unit edit's recipe asks for; RewriteError for another recipe."""
    asked = parsed(Recipe, recipe, "the recipe of a unit edit").of(generator)
    return change(
        generator, asked.layer, asked.units, asked.change, asked.value, noise=asked.noise, progress=progress
    )  # fmt: skip


@torch.no_grad()
def fidelity(
    generator: Generator,
    site: Site,
    chosen: Mapping[int, float],
    verb: Verb,
    edit: edits.Edit,
    *,
    noise: Noise = "const",
    progress: Progress = quiet,
) -> Fidelity:
    """How far the edited network is from one whose units are replaced, over 16 images."""
    base, wanted, got, blocks = [], [], [], []
    world = World(noise=noise)
    for rows, held in passes(generator, site, CHECKING, CHECKED, world, progress):
        blocks.append(rows)
        base.append(held.images())
        wanted.append(held.images(hooked(held, chosen, verb)))
    with edits.applied(generator.module, (edit, 1.0)):
        for rows in blocks:
            got.append(generator.synthesize(ws=world.styles(generator, CHECKING, rows), noise=noise))
    return Fidelity(_largest(got, wanted), _largest(base, wanted), CHECKED)


def hooked(held: Held, chosen: Mapping[int, float], verb: Verb) -> Tensor:
    """The features of a held pass with its units replaced: what a unit edit is to be equal to."""
    units, values = list(chosen), torch.tensor(list(chosen.values()))
    if verb == "scale":
        return held.replaced(units, 0.0, amount=1 - values)
    return held.replaced(units, values)


def _operations(
    generator: Generator, layer: Layer, form: UnitForm, chosen: Mapping[int, float], verb: Verb
) -> dict[str, tuple[Operation, ...]]:
    index, values = torch.tensor(list(chosen)), torch.tensor(list(chosen.values()))
    nought = torch.zeros(len(index))
    shapes = {name: tuple(tensor.shape) for name, tensor in state(generator.module).items()}

    def zeros(entries: Sequence[Entries]) -> dict[str, tuple[Operation, ...]]:
        return {name: (_held_at(shapes[name], axis, index, nought),) for name, axis in entries}

    if verb == "scale":
        return {name: (Scale(shapes[name], axis, index, values),) for name, axis in form.scaled}
    if verb == "ablate" and form.silenced:
        return zeros(form.silenced)
    levels = _levels(layer, form, values)
    level = {} if form.level is None else {form.level: (_held_at(shapes[form.level], 0, index, levels),)}
    return zeros(form.constant) | level


def _held_at(shape: tuple[int, ...], axis: int, index: Tensor, values: Tensor) -> Set:
    """Entries along an axis, all of each at its value."""
    sizes = [1] * len(shape)
    sizes[axis] = len(index)
    full = (*shape[:axis], len(index), *shape[axis + 1 :])
    return Set(shape, Slices(axis, index, values.reshape(sizes).expand(full).contiguous()))


def _levels(layer: Layer, form: UnitForm, values: Tensor) -> Tensor:
    """What goes into the activation for the values to come out."""
    for value in values.tolist():
        if form.level is None and value:
            raise RewriteError(f"layer {layer.name} stores no bias, so its units can only be set to 0; ablate them")
        if value < 0 and form.slope == 0:
            raise RewriteError(f"units of layer {layer.name} are never below 0, so they cannot be set to {value:g}")
        if form.clamp is not None and abs(value) > form.clamp:
            raise RewriteError(
                f"units of layer {layer.name} lie within {form.clamp:g} of 0, so they cannot be set to {value:g}"
            )
    below = values / (form.gain * form.slope) if form.slope else torch.zeros_like(values)
    return torch.where(values < 0, below, values / form.gain)


def _form(layer: Layer) -> UnitForm:
    if layer.units is None:
        raise RewriteError(
            f"units of layer {layer.name} cannot be edited, as no stored numbers are known to be theirs alone; fold "
            f"what is recomputed on each pass, or take another layer"
        )
    return layer.units


def _chosen(site: Site, units: Sequence[int], verb: Verb, value: Values | None) -> dict[int, float]:
    """Units in order, with what each is scaled by or set to."""
    if not units or len(set(units)) < len(units) or not all(0 <= unit < site.units for unit in units):
        raise RewriteError(
            f"units are {list(units)}; expected different ones of layer {site.layer.name}, from 0 to {site.units - 1}"
        )
    if verb not in get_args(Verb):
        raise RewriteError(f"nothing called {verb!r} is done to units; expected ablate, scale or set")
    if (value is None) != (verb == "ablate"):
        raise RewriteError(f"{verb} was given the value {value}; scale and set take a number, ablate takes none")
    values = [float(one) for one in value] if isinstance(value, Sequence) else [float(value or 0)]
    if len(values) not in (1, len(units)):
        raise RewriteError(f"there are {len(values)} values for {len(units)} units; expected one, or one for each")
    if not all(abs(one) <= LARGEST for one in values) or (verb == "scale" and min(values) < 0):
        raise RewriteError(f"{verb} was given {value}; expected finite numbers, and for a factor none below 0")
    return dict(sorted(zip(units, values * (len(units) // len(values)), strict=True)))


def _recipe(
    generator: Generator, layer: str, chosen: Mapping[int, float], verb: Verb, noise: Noise
) -> dict[str, Any]:  # fmt: skip
    values = tuple(chosen.values())
    return Recipe(
        model=generator.name or None, layer=layer, units=tuple(chosen), change=verb, noise=noise,
        value=None if verb == "ablate" else values[0] if len(set(values)) == 1 else values,
    ).as_json()  # fmt: skip


def _largest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def _short(value: float) -> float:
    return float(f"{value:.6g}")
