"""What a recipe asks for, measured at one layer: the keys to respond to and the values they should get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rewrite.background import Background
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer, State
from rewrite.memory import canonical, check_editable, gain, maps, patches, respond, style_of
from rewrite.progress import Progress, quiet
from rewrite.ranking import by_energy
from rewrite.regions import bounds
from rewrite.rules.recipe import Recipe, Region


@dataclass(frozen=True)
class Placed:
    """One paste example as maps, in float64."""

    key: Tensor
    """(1, in, H, W)."""
    value: Tensor
    """Values now (out, H, W), before gain."""
    wanted: Tensor
    """Values wanted where `where` is positive (out, H, W), divided by this image's own gain."""
    where: Tensor
    """Coverage of the moved object (H, W)."""
    style: Tensor | None
    """(1, in)."""
    gain: Tensor | None
    """(1, out)."""


@dataclass(frozen=True)
class Evidence:
    """Positions p of all paste examples, P in number, in float64."""

    patches: Tensor
    """Keys (P, taps, in)."""
    value: Tensor
    """Values now (P, out), before gain."""
    target: Tensor
    """Values wanted (P, out), divided by the paste image's own gain."""
    weight: Tensor
    """Coverage of the moved object (P,)."""
    example: Tensor
    """Which paste example each position belongs to (P,)."""
    style: Tensor | None
    """Modulation of each paste example (examples, in)."""
    context_keys: Tensor
    """Keys under the context's regions (Q, in)."""
    context_weight: Tensor
    """Their coverage (Q,)."""
    context_example: Tensor
    """Which paste example a context key goes with (Q,), or -1 for a context of its own."""
    placed: tuple[Placed, ...]
    """All paste examples as maps, for a method that needs more than positions."""

    def without(self, example: int) -> Evidence:
        """All but one paste example; its keys leave the context, where the context is the paste regions."""
        kept, context = self.example != example, self.context_example != example
        return self._subset(kept, context)

    def only(self, example: int) -> Evidence:
        """One paste example alone, with the whole context."""
        return self._subset(self.example == example, torch.ones_like(self.context_example, dtype=torch.bool))

    def _subset(self, kept: Tensor, context: Tensor) -> Evidence:
        return Evidence(
            self.patches[kept],
            self.value[kept],
            self.target[kept],
            self.weight[kept],
            self.example[kept],
            self.style,
            self.context_keys[context],
            self.context_weight[context],
            self.context_example[context],
            self.placed,
        )


def gather(
    generator: Generator, layer: Layer, recipe: Recipe, world: Background, progress: Progress = quiet
) -> Evidence:
    """Evidence of a recipe at one layer, from one forward pass an image up to that layer."""
    check_editable(layer)
    weight = canonical(layer, generator.module.state_dict()[layer.weight])
    states = _States(generator, layer, recipe.truncation)
    regions = [*([recipe.source] if recipe.source else []), *recipe.paste, *recipe.where]
    for number, region in enumerate(regions):
        progress(f"keys of {layer.name}", number, len(regions))
        states.of(region)
    progress(f"keys of {layer.name}", len(regions), len(regions))

    contexts = [_covered_keys(states.of(region), region) for region in recipe.where]
    context_keys = torch.cat([keys for keys, _ in contexts])
    context_weight = torch.cat([covered for _, covered in contexts])
    sizes = [len(covered) for _, covered in contexts]
    numbers = torch.arange(len(contexts)) if recipe.context is None else torch.full((len(contexts),), -1)

    silenced = _peculiar_units(recipe, context_keys, context_weight, world)
    placed = tuple(_place(layer, weight, states, recipe, region, silenced) for region in recipe.paste)
    parts = [_positions(layer, example, number) for number, example in enumerate(placed)]
    patch, value, target, mass, example = (torch.cat(column) for column in zip(*parts, strict=True))
    if not float((mass[:, None] * (target - value) ** 2).sum()) > 0:
        raise RewriteError("the copied values are those of the paste places already; copy another region")
    styles = [one.style for one in placed if one.style is not None]
    return Evidence(
        patch,
        value,
        target,
        mass,
        example,
        torch.cat(styles) if styles else None,
        context_keys,
        context_weight,
        numbers.repeat_interleave(torch.tensor(sizes)),
        placed,
    )


class _States:
    """Forward passes held at the layer, one an image, however many regions lie on it."""

    def __init__(self, generator: Generator, layer: Layer, truncation: float) -> None:
        self._generator, self._layer, self._truncation = generator, layer, truncation
        self._held: dict[object, State] = {}

    def of(self, region: Region) -> State:
        name = (region.latent, region.label)
        if name not in self._held:
            label = None if region.label is None else [region.label]
            with torch.no_grad():
                z = self._generator.latents([region.latent])
                ws = self._generator.styles(z, truncation=self._truncation, label=label)
                self._held[name] = self._generator.run_to(self._layer, ws=ws)
        return self._held[name]


def _place(
    layer: Layer, weight: Tensor, states: _States, recipe: Recipe, region: Region, silenced: Tensor | None
) -> Placed:
    state = states.of(region)
    key, style = maps(state.key).detach().cpu().double(), style_of(state)
    value, own = respond(layer, key, weight)[0], gain(layer, weight, style)
    covered = region.coverage(layer.out_resolution)
    if recipe.source is None:
        quiet_key = key.clone()
        quiet_key[:, silenced] = 0
        return Placed(key, value, respond(layer, quiet_key, weight)[0], covered, style, own)
    source = states.of(recipe.source)
    made = respond(layer, maps(source.key).detach().cpu().double(), weight)[0]
    other = gain(layer, weight, style_of(source))
    if own is not None and other is not None:
        made = made * (other / own)[0, :, None, None]
    where, wanted = move(recipe.source.coverage(layer.out_resolution), made, covered, recipe.fit)
    return Placed(key, value, wanted, where, style, own)


def _positions(layer: Layer, placed: Placed, number: int) -> Sequence[Tensor]:
    """Patches, values, targets, weights and example number where the object lies."""
    ys, xs = torch.nonzero(placed.where, as_tuple=True)
    return (
        patches(layer, placed.key, ys, xs),
        placed.value[:, ys, xs].T,
        placed.wanted[:, ys, xs].T,
        placed.where[ys, xs],
        torch.full((len(ys),), number),
    )


def move(covered: Tensor, values: Tensor, paste: Tensor, fit: str) -> tuple[Tensor, Tensor]:
    """The copied object's coverage (H, W) and values (out, H, W), where the paste region wants them.

    `move` shifts both by whole cells until the box centres meet, clamped to the map; `stretch` resizes the object's box
    to the paste region's.
    """
    top, left, bottom, right = bounds(covered)
    to_top, to_left, to_bottom, to_right = bounds(paste)
    cut, cut_values = covered[top:bottom, left:right], values[:, top:bottom, left:right]
    if fit == "stretch":
        size = (to_bottom - to_top, to_right - to_left)
        cut = _resize(cut[None], size)[0].clamp(0, 1)
        cut_values = _resize(cut_values, size)
        y, x = to_top, to_left
    else:
        y = _clamped((to_top + to_bottom - (bottom - top)) / 2, covered.shape[0] - (bottom - top))
        x = _clamped((to_left + to_right - (right - left)) / 2, covered.shape[1] - (right - left))
    where, wanted = torch.zeros_like(covered), torch.zeros_like(values)
    height, width = cut.shape
    where[y : y + height, x : x + width] = cut
    wanted[:, y : y + height, x : x + width] = cut_values
    return where, wanted


def _clamped(place: float, last: int) -> int:
    return max(0, min(int(place + 0.5), last))


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


def _covered_keys(state: State, region: Region) -> tuple[Tensor, Tensor]:
    covered = region.coverage(state.layer.in_resolution)
    ys, xs = torch.nonzero(covered, as_tuple=True)
    return maps(state.key)[0].detach().cpu().double()[:, ys, xs].T, covered[ys, xs]


def _peculiar_units(recipe: Recipe, keys: Tensor, weight: Tensor, world: Background) -> Tensor | None:
    if recipe.erase is None:
        return None
    if recipe.erase.units > keys.shape[1]:
        raise RewriteError(
            f"erase asks for {recipe.erase.units} units and the layer has {keys.shape[1]}; ask for fewer"
        )
    return by_energy(keys, weight, world.moments.at((0, 0)).diagonal())[: recipe.erase.units]
