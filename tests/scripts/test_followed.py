"""A wish followed in every way, on a toy: what is said of each is what an obvious count says, and nothing stays."""

from __future__ import annotations

import math

import pytest
import torch
from reproduction import draw, rules, watermark
from reproduction.baselines import all_weights, blend, direct
from reproduction.request import Request
from reproduction.turned import Stage, nothing
from scenes.effect import effect

import rewrite
from rewrite.errors import RewriteError
from rewrite.rules.judge import values_after

SAMPLES = 24
LAYER = "synthesis.b16.conv1"


class Brightness:
    """Three classes by brightness: exact, and blind to all else."""

    classes = ("dark", "middle", "bright")

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        grey = images.mean(1)
        return torch.stack([-grey - 0.1, 0 * grey, grey - 0.1], dim=1)


@pytest.fixture(scope="module")
def stage(generator, eyes) -> Stage:
    return Stage.of(generator, eyes, Brightness(), "bright", "middle", SAMPLES)


@pytest.fixture(scope="module")
def recipe():
    box = [0.2, 0.2, 0.7, 0.7]
    return {
        "layer": LAYER, "copy": {"seed": 101, "box": box}, "paste": [{"seed": seed, "box": box} for seed in (102, 103)],
        "rank": 2, "mu": 0.1, "nu": 0.1, "samples": 16,
    }  # fmt: skip


@pytest.fixture
def untouched(generator):
    before = {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}
    yield
    assert all(torch.equal(before[name], tensor) for name, tensor in generator.module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in generator.module.parameters())


def test_nothing_turns_nothing(stage):
    row = stage.blended("nothing", nothing, 0.0)
    assert (row.gone, row.turned, row.outside, row.distance_outside, row.harm) == (0, 0, 0, 0, 0)
    assert row.shown_before == row.shown_after > 0


def test_what_turned_is_what_the_other_count_says(stage, generator):
    edit = draw.shaken(generator, generator.layer(LAYER), 1.0)
    row = stage.edited("", edit, 0.0)
    found = effect(generator, stage.segment, edit, "bright", "middle", stage.seeds)
    assert row.turned > 0
    assert row.turned == pytest.approx(found.turned)
    assert row.gone == pytest.approx(found.gone)
    assert row.outside == pytest.approx(found.outside, rel=1e-4)
    assert (row.shown_before, row.shown_after) == (found.shown_before, found.shown_after)
    assert row.harm_interval[0] < row.harm < row.harm_interval[1]


@pytest.mark.usefixtures("untouched")
def test_every_method_has_a_row_and_leaves_the_generator_as_it_was(stage, recipe):
    rows = list(rules.methods(stage, recipe, rank=2, steps=11, all_steps=2))
    assert [row.name for row in rows] == [
        "nothing", "rule, rank 2", "rule, rank unlimited", "projected descent, rank 2, 11 steps",
        "projected descent, rank unlimited, 11 steps", "direct, rank 2, 11 steps", "pixels blended",
        "all weights, 2 steps",
    ]  # fmt: skip
    for row in rows[1:]:
        assert row.harm != 0, row.name
        assert all(math.isfinite(value) for value in row.facts.values() if isinstance(value, float)), row.name


def test_an_erase_has_no_pixels_to_paste(stage, recipe):
    asked = {name: value for name, value in recipe.items() if name != "copy"} | {"erase": {"units": 3}}
    names = [row.name for row in rules.methods(stage, asked, rank=2, steps=3, all_steps=1)]
    assert names[-1] == "direct, rank 2, 3 steps"


def test_the_direct_descent_comes_nearer_with_every_stretch_and_keeps_to_its_context(generator, recipe):
    request = Request.of(generator, recipe)
    evidence = request.evidence

    def error(steps: int) -> float:
        made = values_after(request.layer, request.weight, evidence, direct(request, 2, steps))
        return float((evidence.weight[:, None] * (evidence.target - made).abs()).sum())

    assert error(0) > error(20) > error(100)
    assert torch.equal(direct(request, 2, 3).context, request.context(2))


@pytest.mark.usefixtures("untouched")
def test_the_descent_on_all_weights_paints_what_was_pasted(generator, recipe):
    asked = rewrite.Recipe.model_validate(recipe)
    edit = all_weights(generator, asked, 40)
    assert len(edit.operations) > 10
    (box,) = {region.box for region in asked.paste}
    top, bottom = round(box[1] * 32), round(box[3] * 32)
    wanted = draw.images(generator, [101])[..., top:bottom, top:bottom]
    before = draw.images(generator, [102, 103])[..., top:bottom, top:bottom]
    after = draw.images(generator, [102, 103], edit)[..., top:bottom, top:bottom]
    assert (after - wanted).abs().mean() < 0.9 * (before - wanted).abs().mean()


def test_a_blend_changes_nothing_but_where_the_object_was(stage, generator, recipe):
    change = blend(generator, rewrite.Recipe.model_validate(recipe), 2, stage.seeds)
    maps = torch.zeros_like(stage.maps)
    maps[3, 8:16, 4:20] = 2
    made = change(stage.images, maps)
    box = (3, slice(None), slice(7, 17), slice(3, 21))
    assert not torch.equal(made[box], stage.images[box])
    made[box] = stage.images[box]
    assert torch.equal(made, stage.images)


def test_watermark_units_are_those_of_the_painted_place(stage, generator, recipe):
    rows = list(watermark.removals(stage, recipe, counts=(2, 6, 99)))
    names = [row.name for row in rows]
    assert names == ["nothing", *(f"{n} units of synthesis.b16.conv0 zeroed" for n in (2, 6)), "rule, rank 2"]
    assert all(row.harm != 0 for row in rows[1:])


def test_units_that_no_one_layer_makes_are_refused(stage, recipe):
    with pytest.raises(RewriteError, match="no layer before"):
        list(watermark.removals(stage, recipe | {"layer": "synthesis.b4.conv1"}))
