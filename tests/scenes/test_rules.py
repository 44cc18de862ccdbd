"""Rules on scenes: the objects that are pointed at, and what is said of an edit's effect."""

from __future__ import annotations

import pytest
import torch
from scenes.effect import effect
from scenes.wishes import Wish, objects, propose, typical

import edits
from edits.identity import describe
from rewrite.generator import Generator
from rewrite.models import stylegan2

SIDE = 16


@pytest.fixture(scope="module")
def generator() -> Generator:
    return stylegan2.generator(stylegan2.StyleGAN2.random(3, resolution=SIDE, channels=(8, 8, 8), z=8, w=8, depth=2))


class Brightness:
    """Three classes by brightness: exact, and blind to all else."""

    classes = ("dark", "middle", "bright")

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        grey = images.mean(1)
        return torch.stack([-grey - 0.2, 0 * grey, grey - 0.2], dim=1)


def darker(generator: Generator, by: float) -> edits.Edit:
    """Takes `by` off the whole image, by the last layer's bias."""
    name = "synthesis.b16.torgb.bias"
    return edits.Edit(
        {name: (edits.Add((3,), edits.Dense(torch.full((3,), -by))),)}, describe(generator.module, [name])
    )


def test_the_largest_object_of_each_image_is_found() -> None:
    maps = torch.zeros(3, 12, 12, dtype=torch.uint8)
    maps[0, 2:4, 1:3] = 1
    maps[0, 3:9, 5:11] = 1
    maps[2, 0:12, 11] = 1
    (one,) = objects(maps, [7, 8, 9], 1)
    assert (one.seed, one.pixels) == (7, 36)
    assert one.box == (4, 2, 12, 10)
    assert one.region(12) == {"seed": 7, "box": [0.3333, 0.1667, 1.0, 0.8333]}


def test_typical_objects_are_neither_crumbs_nor_several() -> None:
    maps = torch.zeros(10, 64, 64, dtype=torch.uint8)
    for i in range(10):
        maps[i, 0:8, 0 : 4 + 2 * i] = 1
    assert [one.pixels for one in typical(objects(maps, range(10), 1), 3)] == [128, 112, 144]


def test_an_effect_counts_what_turned(generator: Generator) -> None:
    before = generator.synthesize(generator.latents(range(6)))
    edit = darker(generator, 0.5)
    after = (before - 0.5).clamp(-1, 1)
    segment = Brightness()
    was, now = (segment(images).argmax(1) for images in (before, after))
    found = effect(generator, segment, edit, "bright", "middle", range(6))
    bright = was == 2
    assert found.images == 6
    assert found.turned == pytest.approx(float((bright & (now == 1)).sum() / bright.sum()), abs=0.01)
    assert found.gone == pytest.approx(float((bright & (now != 2)).sum() / bright.sum()), abs=0.01)
    assert found.gone >= found.turned > 0
    assert found.shown_after <= found.shown_before
    assert 0 < found.outside < 64


def test_no_edit_has_no_effect(generator: Generator) -> None:
    tiny = darker(generator, 1e-6)
    found = effect(generator, Brightness(), tiny, "bright", "dark", range(4))
    assert (found.gone, found.turned, found.turned_images) == (0, 0, 0)
    assert found.outside < 1e-3


def test_a_proposal_is_a_recipe_that_can_be_made(generator: Generator) -> None:
    import rewrite

    for wish in (Wish("bright", "dark"), Wish("bright", "middle")):
        asked = propose(generator, Brightness(), wish, range(40), pastes=3)
        seeds = [region["seed"] for region in asked["paste"]]
        assert len(set(seeds)) == 3
        assert asked["copy"]["seed"] not in seeds
        edit = rewrite.rule(
            generator, asked | {"layer": "synthesis.b8.conv1", "rank": 1, "mu": 0.1, "nu": 0.0, "samples": 16}
        )
        assert len(edit.operations) == 1
