"""Rules end to end on small generators."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

import edits
from rewrite.background import HELD_OUT, background
from rewrite.errors import RewriteError
from rewrite.latents import Row
from rewrite.memory import canonical, gain, maps, respond, style_of
from rewrite.progress import quiet
from rewrite.rules import parse, rule
from rewrite.rules.auto import _sweep
from rewrite.rules.evidence import gather
from rewrite.rules.judge import PROBE_IMAGES


def saved(edit, path):
    edit.save(path)
    return path.read_bytes()


def true_residual(generator, name, recipe) -> float:
    """||target - value||, by the weights that the module has now, at the positions the recipe names."""
    layer, recipe = generator.layer(name), parse(recipe)
    world = background(generator, layer, samples=recipe.samples)
    evidence = gather(generator, layer, recipe, world)
    return float((evidence.weight[:, None] * (evidence.target - evidence.value) ** 2).sum() ** 0.5)


@pytest.mark.parametrize("rank", [1, 8, "full"])
def test_a_rule_does_on_the_module_what_its_notes_say(case, recipe_for, rank):
    generator, name = case
    layer, recipe = generator.layer(name), recipe_for(name, rank=rank)
    edit = rule(generator, recipe)
    world = background(generator, layer, samples=32)
    evidence = gather(generator, layer, parse(recipe), world)
    with edits.applied(generator.module, (edit, 1.0)):
        edited = canonical(layer, generator.module.state_dict()[layer.weight])
    after = torch.einsum("pti,oit->po", evidence.patches, edited.flatten(2))
    if layer.gain:
        base = canonical(layer, generator.module.state_dict()[layer.weight])
        after = after * (gain(layer, edited, evidence.style) / gain(layer, base, evidence.style))[evidence.example]
    mass = evidence.weight[:, None]
    before_error, error = (float((mass * (evidence.target - value) ** 2).sum()) for value in (evidence.value, after))
    assert (error / before_error) ** 0.5 == pytest.approx(edit.notes["residual"], rel=1e-3)
    assert edit.notes["residual"] < 1


def test_background_shift_is_what_latents_held_out_see(case, recipe_for):
    generator, name = case
    layer, edit = generator.layer(name), rule(generator, recipe_for(name))
    weights = [canonical(layer, generator.module.state_dict()[layer.weight])]
    with edits.applied(generator.module, (edit, 1.0)):
        weights.append(canonical(layer, generator.module.state_dict()[layer.weight]))
    state = generator.run_to(layer, generator.latents([Row(HELD_OUT, row) for row in range(PROBE_IMAGES)]))
    before, after = (respond(layer, maps(state.key).double(), weight) for weight in weights)
    if layer.gain:
        gains = [gain(layer, weight, style_of(state)) for weight in weights]
        after = after * (gains[1] / gains[0])[:, :, None, None]
    ratio = float(((after - before).square().sum() / before.square().sum()).sqrt())
    assert ratio == pytest.approx(edit.notes["background_shift"], rel=1e-3)


def test_a_rule_lowers_the_residual_of_full_rank_most(case, recipe_for):
    generator, name = case
    notes = [rule(generator, recipe_for(name, rank=rank, mu=0.3)).notes for rank in (1, 4, "full")]
    assert [note["step"] for note in notes] == [1, 1, 1]
    residuals = [note["residual"] for note in notes]
    assert residuals == sorted(residuals, reverse=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rank": "full"},
        {"rank": "auto", "mu": "auto", "strength": "auto"},
        {"copy": None, "erase": {"units": 3}},
        {"method": "gradient", "steps": 21},
        {"fit": "stretch"},
        {"context": [{"seed": 9, "box": [0, 0, 1, 1]}]},
    ],
    ids=["plain", "full", "auto", "erase", "gradient", "stretch", "context"],
)
def test_an_edit_made_again_from_its_own_recipe_is_the_same_file(case, recipe_for, tmp_path, changes):
    generator, name = case
    first = rule(generator, {k: v for k, v in recipe_for(name, **changes).items() if v is not None})
    again = rule(generator, first.recipe)
    assert saved(first, tmp_path / "first") == saved(again, tmp_path / "again")


def test_two_processes_make_the_same_file(recipe_for, tmp_path):
    program = """
import sys, json
sys.path.insert(0, sys.argv[1])
from conftest import small_dcgan
from rewrite.rules import rule
rule(small_dcgan(), json.loads(sys.argv[2])).save(sys.argv[3])
"""
    recipe = json.dumps(recipe_for("main.3"))
    for name in ("a", "b"):
        command = [sys.executable, "-c", program, __file__.rpartition("/")[0], recipe, str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_recipe_knows_its_model(case, recipe_for):
    generator, name = case
    assert rule(generator, recipe_for(name)).recipe["model"] == generator.name
    with pytest.raises(RewriteError, match="the recipe is for model 'other'"):
        rule(generator, recipe_for(name, model="other"))


def test_a_layer_that_does_not_exist(case, recipe_for):
    with pytest.raises(RewriteError, match=r"there is no layer 'nowhere'.*nearest"):
        rule(case[0], recipe_for("nowhere"))


def test_a_region_that_covers_nothing(case, recipe_for):
    generator, name = case
    with pytest.raises(RewriteError, match="the box on seed 1 covers nothing"):
        rule(generator, recipe_for(name, copy={"seed": 1, "box": [1.2, 1.2, 1.5, 1.5]}))


def test_more_rank_than_the_context_has_keys(case, recipe_for):
    generator, name = case
    one_cell = [{"seed": 2, "box": [0, 0, 0.01, 0.01]}]
    with pytest.raises(RewriteError, match=r"rank 4 is more than the 1 independent keys"):
        rule(generator, recipe_for(name, context=one_cell))


def test_a_copy_of_what_is_there_already(case, recipe_for):
    generator, name = case
    same = {"seed": 1, "box": [0.2, 0.2, 0.7, 0.6]}
    with pytest.raises(RewriteError, match="are those of the paste places already"):
        rule(generator, recipe_for(name, copy=same, paste=[same]))


def test_one_paste_example_covers_mu_and_strength_only_and_says_so(case, recipe_for):
    generator, name = case
    edit = rule(generator, recipe_for(name, paste=[{"seed": 2, "box": [0.2, 0.2, 0.7, 0.6]}], rank="auto", mu="auto"))
    assert "mu and strength only" in edit.notes["auto"]["said"]
    layers = list(generator.layers)[-2:]
    with pytest.raises(RewriteError, match="one paste example cannot choose among 2 layers"):
        rule(generator, recipe_for(layers, paste=[{"seed": 2, "box": [0.2, 0.2, 0.7, 0.6]}]))


def test_one_paste_example_with_few_keys_takes_what_rank_there_is(case, recipe_for):
    generator, name = case
    cell = [{"seed": 2, "box": [0.2, 0.2, 0.21, 0.21]}]
    edit = rule(generator, recipe_for(name, paste=cell, rank="auto", mu="auto"))
    assert edit.notes["rank"] == 1


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_notes_are_of_the_edits_own_strength(case, recipe_for, strength):
    generator, name = case
    plain, edit = (rule(generator, recipe_for(name, mu=1.0, nu=1.0, **more)) for more in ({}, {"strength": strength}))
    assert plain.content == edit.content
    assert edit.strength == strength
    if not generator.layer(name).gain:
        expected = strength * plain.notes["background_shift"]
        assert edit.notes["background_shift"] == pytest.approx(expected, rel=1e-4)
    assert edit.notes["residual"] != plain.notes["residual"]


def test_many_paste_examples_are_left_out_by_a_sample(case, recipe_for):
    generator, name = case
    box = [0.2, 0.2, 0.7, 0.6]
    many = [{"seed": seed, "box": box} for seed in range(2, 40)]
    assert rule(generator, recipe_for(name, paste=many, rank=1, mu="auto")).notes["auto"]["tried"] >= 9


def test_a_mapping_layer_says_why_it_takes_no_rule(case, recipe_for):
    generator, _ = case
    mapping = next((n for n, layer in generator.layers.items() if layer.refuses), None)
    if mapping is None:
        pytest.skip("this family has no mapping")
    for rank in (1, "auto"):
        with pytest.raises(RewriteError, match="no places to copy from"):
            rule(generator, recipe_for(mapping, rank=rank))


def test_auto_takes_the_least_cost_within_a_tenth_of_the_best(case, recipe_for):
    generator, name = case
    chosen = rule(generator, recipe_for(name, rank="auto", mu="auto")).notes["auto"]
    assert chosen["tried"] > 10
    sweep = list(_sweep(generator, generator.layer(name), parse(recipe_for(name, rank="auto", mu="auto")), quiet))
    best = max(one.effect for one in sweep)
    assert chosen["best_effect"] == pytest.approx(best, rel=1e-3)
    assert not [one for one in sweep if one.effect >= 0.9 * best and one.cost < chosen["cost"] * 0.999]


def test_a_silent_region_is_erased_by_the_units_that_speak_there(case, recipe_for):
    generator, name = case
    recipe = {k: v for k, v in recipe_for(name, rank="full", mu=0.001, erase={"units": 6}).items() if k != "copy"}
    before = true_residual(generator, name, recipe)
    edit = rule(generator, recipe)
    assert edit.notes["residual"] < 0.9
    assert before > 0


def test_the_published_descent_gets_closer_and_stays_in_its_rank(case, recipe_for):
    generator, name = case
    edit = rule(generator, recipe_for(name, method="gradient", steps=201, rank=2))
    assert edit.notes["residual"] < 1
    assert edit.rows[0].rank == 2
