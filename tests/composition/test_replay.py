"""Laws of `resolve`: order, absence, removal, making again; and what it promises about promises."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

import edits
from rewrite.composition import resolve, retention
from rewrite.errors import RewriteError
from rewrite.rules import rule


def weights(generator, *pairs):
    with edits.applied(generator.module, *pairs):
        return {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}


def same(one, other) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def rules_of(edit) -> dict:
    return {told["content"]: told for layer in edit.notes["layers"] for told in layer["rules"]}


def test_ten_orders_give_the_same_bytes(case, packed):
    pairs = [(case.above[0], 1.0), (case.above[1], 0.7), (case.above[2], -0.5)]
    first = packed(resolve(case.generator, pairs))
    for seed in range(10):
        random.Random(seed).shuffle(pairs)
        assert packed(resolve(case.generator, pairs)) == first


def test_strength_zero_is_absence(case, packed):
    one, two, three = case.above
    assert packed(resolve(case.generator, [(one, 1.0), (three, 0.0), (two, 0.7)])) == packed(
        resolve(case.generator, [(one, 1.0), (two, 0.7)])
    )


def test_taking_a_member_out_gives_what_the_others_give(case, packed):
    pairs = [(case.above[0], 1.0), (case.above[1], 0.7), (case.below[0], 0.5)]
    whole = resolve(case.generator, pairs)
    for gone, _ in pairs[1:]:
        others = resolve(case.generator, [pair for pair in pairs if pair[0] is not gone])
        left = resolve(case.generator, [member for member in whole.members if member[0].content != gone.content])
        assert packed(left) == packed(others)
        assert same(weights(case.generator, (left, 1.0)), weights(case.generator, (others, 1.0)))


def test_one_edit_alone_keeps_its_bits(case):
    """Exactly: there is nothing to correct, so nothing but the edit itself is in the result."""
    for strength in (1.0, 0.3, -1.0):
        alone = resolve(case.generator, [(case.above[0], strength)])
        assert [(member.content, reached) for member, reached in alone.members] == [(case.above[0].content, strength)]
        assert same(weights(case.generator, (alone, 1.0)), weights(case.generator, (case.above[0], strength)))


def test_a_rule_above_all_others_meets_nobody(case):
    """What is downstream does not reach it."""
    both = resolve(case.generator, [(case.above[0], 1.0), (case.below[0], 1.0)])
    layers = [layer["layer"] for layer in both.notes["layers"]]
    assert layers == [case.lower]
    name = case.generator.layer(case.upper).weight
    assert torch.equal(weights(case.generator, (both, 1.0))[name], weights(case.generator, (case.above[0], 1.0))[name])


def test_a_resolved_edit_is_made_again_from_itself(case, packed):
    pairs = [(case.above[0], 1.0), (case.above[1], 0.7), (case.below[0], 1.0)]
    whole = resolve(case.generator, pairs)
    assert packed(resolve(case.generator, [(whole, None)])) == packed(whole)
    first = resolve(case.generator, pairs[:2])
    assert packed(resolve(case.generator, [pairs[2], (first, 1.0)])) == packed(whole)
    halved = resolve(case.generator, [(edit, 0.5 * strength) for edit, strength in pairs])
    assert packed(resolve(case.generator, [(whole, 0.5)])) == packed(halved)


def test_it_saves_loads_and_stacks_like_any_other(case, packed, tmp_path):
    generator = case.generator
    whole = resolve(generator, [(case.above[0], 1.0), (case.above[1], 1.0)])
    whole.save(tmp_path / "whole.safetensors")
    loaded = edits.load(tmp_path / "whole.safetensors")
    assert packed(loaded) == packed(whole)
    assert loaded.recipe["resolve"] == [
        {"content": edit.content, "strength": 1.0} for edit in sorted(case.above[:2], key=lambda edit: edit.content)
    ]
    assert loaded.made_by["verb"] == "resolve"
    base, resolved = weights(generator), weights(generator, (whole, 1.0))
    stack = edits.Stack(generator.module)
    stack.push(loaded)
    stack.push(case.below[0], 0.5)
    with pytest.raises(edits.EditError, match="on the stack already"):
        stack.push(case.above[0])
    stack.remove(case.below[0])
    assert same(resolved, generator.module.state_dict())
    stack.remove(loaded)
    assert same(base, generator.module.state_dict())


def test_every_promise_is_better_kept_than_in_the_sum(case):
    pairs = [(case.above[0], 1.0), (case.above[1], 0.7), (case.above[2], 1.0)]
    told = rules_of(resolve(case.generator, pairs))
    assert set(told) == {edit.content for edit, _ in pairs}
    for rule_ in told.values():
        assert rule_["loss_in_sum"] > 0.1
        assert rule_["loss"] < 0.6 * rule_["loss_in_sum"]


def test_notes_are_what_is_measured_on_the_module(case):
    pairs = [(case.above[0], 1.0), (case.above[1], 0.7)]
    whole = resolve(case.generator, pairs)
    told = rules_of(whole)
    for kept in retention(case.generator, pairs, [pairs]):
        assert 1 - kept.retention == pytest.approx(told[kept.content]["loss_in_sum"], abs=1e-4)
        assert kept.residual == pytest.approx(told[kept.content]["residual_in_sum"], abs=1e-4)
    for kept in retention(case.generator, pairs, [[(whole, None)]]):
        assert 1 - kept.retention == pytest.approx(told[kept.content]["loss"], abs=1e-4)
        assert kept.residual == pytest.approx(told[kept.content]["residual"], abs=1e-4)


def test_rules_far_apart_in_strength_scale_what_they_promise(case):
    """A rule at half strength promises half, and keeps that."""
    whole = resolve(case.generator, [(case.above[0], 0.5), (case.above[1], 1.0)])
    alone, together = (
        retention(case.generator, [(case.above[0], 0.5)], [under])[0]
        for under in ([(case.above[0], 0.5)], [(whole, None)])
    )
    assert alone.retention == pytest.approx(1)
    assert together.retention == pytest.approx(1 - rules_of(whole)[case.above[0].content]["loss"], abs=1e-4)


def test_a_rule_below_is_solved_anew_on_the_keys_that_the_others_give_it(case):
    pairs = [(case.above[0], 1.0), (case.above[1], 1.0), (case.below[0], 1.0)]
    whole = resolve(case.generator, pairs)
    below = next(layer for layer in whole.notes["layers"] if layer["layer"] == case.lower)
    assert below["solved_anew"]
    told = rules_of(whole)[case.below[0].content]
    assert told["residual"] < told["residual_in_sum"]
    assert told["loss"] < 1e-3
    with edits.applied(case.generator.module, (resolve(case.generator, pairs[:2]), 1.0)):
        anew = rule(case.generator, case.below[0].recipe)
    assert told["residual"] == pytest.approx(anew.notes["residual"], rel=1e-2)


def test_edits_without_a_recipe_stay_and_the_rules_are_solved_around_them(case, by_hand):
    hand = by_hand(case.generator, case.upper, 0.5)
    whole = resolve(case.generator, [(case.above[0], 1.0), (hand, 0.8)])
    assert {member.content: reached for member, reached in whole.members}[hand.content] == 0.8
    assert whole.notes["fixed"] == [hand.content]
    assert "1 edit without a recipe" in whole.notes["said"]
    told = rules_of(whole)[case.above[0].content]
    assert told["loss"] < 0.6 * told["loss_in_sum"]


def test_an_edit_without_a_recipe_upstream_has_the_rules_solved_anew(case, by_hand):
    hand = by_hand(case.generator, case.upper, 0.3)
    whole = resolve(case.generator, [(case.below[0], 1.0), (hand, 1.0)])
    told = rules_of(whole)[case.below[0].content]
    assert whole.notes["layers"][0]["solved_anew"]
    assert told["residual"] < told["residual_in_sum"]


def test_only_edits_without_a_recipe_are_composed(case, by_hand):
    hands = [(by_hand(case.generator, case.upper, 0.1, seed), 1.0) for seed in range(2)]
    assert resolve(case.generator, hands).content == edits.compose(hands).content


def test_a_scaled_unit_is_left_alone(case):
    """A scale acts on what the adds made, so the rules are not solved around it, and it does what it says."""
    layer = case.generator.layer(case.upper)
    shape = layer.shape
    ablation = edits.Edit(
        {layer.weight: (edits.Scale(shape, layer.out_axis, torch.tensor([3]), torch.tensor([0.0])),)},
        edits.describe(case.generator.module, [layer.weight], architecture=case.generator.architecture),
    )
    whole = resolve(case.generator, [(case.above[0], 1.0), (case.above[1], 1.0), (ablation, 1.0)])
    after = weights(case.generator, (whole, 1.0))[layer.weight]
    assert not after.select(layer.out_axis, 3).any()


def test_a_recipe_that_left_choices_open_is_replayed_as_they_were_made(case, recipe_for, packed):
    open_ = rule(
        case.generator, recipe_for(case.upper, 51, pastes=1, rank="auto", mu="auto", nu="auto", strength="auto")
    )
    whole = resolve(case.generator, [(open_, None), (case.above[0], 1.0)])
    assert open_.content in rules_of(whole)
    forgetful = replace(open_, notes={})
    assert resolve(case.generator, [(forgetful, None), (case.above[0], 1.0)]).notes["fixed"] == [open_.content]


def test_twice_the_same_edit_and_nothing_at_all_are_refused(case):
    one = case.above[0]
    with pytest.raises(RewriteError, match="there twice"):
        resolve(case.generator, [(one, 1.0), (one, 0.5)])
    with pytest.raises(RewriteError, match="no edit is left"):
        resolve(case.generator, [(one, 0.0)])


def test_other_weights_are_refused_and_left_alone(case):
    generator = case.generator
    name = generator.layer(case.upper).weight
    with torch.no_grad():
        tensor = generator.module.state_dict()[name]
        kept = tensor.clone()
        tensor.mul_(1.01)
        before = {n: t.clone() for n, t in generator.module.state_dict().items()}
        with pytest.raises(edits.EditError, match="are not the weights"):
            resolve(generator, [(case.above[0], 1.0), (case.above[1], 1.0)])
        assert same(before, generator.module.state_dict())
        tensor.copy_(kept)


def test_a_failure_halfway_leaves_the_module_alone(case, monkeypatch):
    def fail(*_arguments, **_options):
        raise KeyboardInterrupt

    before = weights(case.generator)
    monkeypatch.setattr("rewrite.composition.replay.correct", fail)
    with pytest.raises(KeyboardInterrupt):
        resolve(case.generator, [(case.above[0], 1.0), (case.above[1], 1.0)])
    assert same(before, case.generator.module.state_dict())
