"""Unit edits: units ablated, scaled or set to a value, as a change of weights; and how exactly it is one.

What stored numbers do it is the layer's to say (`rewrite.generator.UnitForm`). Whether they do is tried out: the edited
network beside one whose units are replaced as it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

import edits
from edits import Scale, Set, Slices
from edits.identity import state
from edits.operations import Operation
from rewrite.errors import RewriteError
from rewrite.generator import Entries, Generator, Layer, Noise, UnitForm
from rewrite.progress import Progress, quiet
from rewrite.units.features import Held, Site, World, passes, sites

Verb = Literal["ablate", "scale", "set"]
Values = float | Sequence[float]
CHECKED = 16
"""Images that an edit is tried out on."""
CHECKING = 4
"""The stream that they are rows of."""
ROUNDING = 2e-5
"""Largest difference of images, which go from -1 to 1, that is still rounding."""
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
        return self.difference <= ROUNDING


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
        recipe=_recipe(generator, layer, chosen, verb),
        made_by={"tool": "rewrite", "version": version("rewrite"), "verb": f"units {verb}"},
        notes=notes if found.exact else notes | {"why": form.caveats.get(verb, UNEXPLAINED)},
    )


def again(generator: Generator, recipe: Any, *, progress: Progress = quiet) -> edits.Edit:
    """The edit that a unit edit's recipe asks for; RewriteError for another recipe."""
    said = recipe if isinstance(recipe, Mapping) else {}
    layer, verb, units = said.get("layer"), said.get("verb"), said.get("units")
    if not isinstance(layer, str) or verb not in get_args(Verb) or not isinstance(units, dict):
        raise RewriteError("this recipe is not that of a unit edit; expected verb, layer and units")
    value = None if verb == "ablate" else list(units.values())
    return change(generator, layer, map(int, units), cast(Verb, verb), value, progress=progress)


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
    values = torch.as_tensor(0.0 if value is None else value, dtype=torch.float32).flatten()
    if len(values) not in (1, len(units)):
        raise RewriteError(f"there are {len(values)} values for {len(units)} units; expected one, or one for each")
    if not values.isfinite().all() or (verb == "scale" and (values < 0).any()):
        raise RewriteError(f"{verb} was given {value}; expected finite numbers, and for a factor none below 0")
    return dict(sorted(zip(units, values.expand(len(units)).tolist(), strict=True)))


def _recipe(generator: Generator, layer: str, chosen: Mapping[int, float], verb: Verb) -> dict[str, Any]:
    model = {"model": generator.name} if generator.name else {}
    return {"verb": verb, **model, "layer": layer, "units": {str(unit): value for unit, value in chosen.items()}}


def _largest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def _short(value: float) -> float:
    return float(f"{value:.6g}")
