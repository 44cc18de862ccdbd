"""Paste examples as maps: what lies at the layer now, and what the copied object would have there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rewrite.generator import Generator, Layer, State
from rewrite.memory import gain, maps, respond, style_of
from rewrite.regions import bounds
from rewrite.rules.recipe import Recipe, Region

HELD = 16
"""Forward passes kept at a time: an image that several regions lie on is run once."""


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


class Passes:
    """Forward passes held at a layer, by region; the oldest make room for new ones."""

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
            if len(self._held) > HELD:
                del self._held[next(iter(self._held))]
        return self._held[name]


def placements(
    layer: Layer, weight: Tensor, passes: Passes, recipe: Recipe, silenced: Tensor | None
) -> Iterator[Placed]:
    """Each paste example of a recipe in turn; `silenced` are the units that an erase takes away."""
    if recipe.source is not None:
        source = passes.of(recipe.source)
        object_covers = recipe.source.coverage(layer.out_resolution, layer.out_margin)
        object_made = respond(layer, maps(source.key).detach().cpu().double(), weight)[0]
        object_gain = gain(layer, weight, style_of(source))
    for region in recipe.paste:
        state = passes.of(region)
        key, style = maps(state.key).detach().cpu().double(), style_of(state)
        value, own = respond(layer, key, weight)[0], gain(layer, weight, style)
        covered = region.coverage(layer.out_resolution, layer.out_margin)
        if recipe.source is None:
            key_without = key.clone()
            key_without[:, silenced] = 0
            yield Placed(key, value, respond(layer, key_without, weight)[0], covered, style, own)
            continue
        made = object_made
        if own is not None and object_gain is not None:
            made = made * (object_gain / own)[0, :, None, None]
        where, wanted = move(object_covers, made, covered, recipe.fit)
        yield Placed(key, value, wanted, where, style, own)


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
