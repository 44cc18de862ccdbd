"""What `conflict` foresees is what then happens; its verdicts, and what it leaves alone."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import edits
from edits.materialise import changes, materialise
from rewrite import hooks
from rewrite.composition import conflict, resolve, retention
from rewrite.composition.foresee import _rounding
from rewrite.composition.losses import among
from rewrite.composition.members import members
from rewrite.composition.promise import promise_alone
from rewrite.composition.verdict import LEVELS, THRESHOLDS, Finding, Threshold, verdict
from rewrite.errors import RewriteError
from rewrite.memory import canonical, gain, style_of
from rewrite.rules import parse, rule

POINTS = 0.02


def random_rules(generator, layers, recipe_for, count, seed, **changes):
    """Rules at random places of random layers, pasting to two images each."""
    draw = np.random.RandomState(seed)
    made = []
    for _ in range(count):
        width, height = draw.uniform(0.25, 0.6, 2)
        x, y = draw.uniform(0, 1 - width), draw.uniform(0, 1 - height)
        box = [round(float(side), 3) for side in (x, y, x + width, y + height)]
        layer = layers[draw.randint(len(layers))]
        made.append(rule(generator, recipe_for(layer, int(draw.randint(10_000)), box, **changes)))
    return made


def check_predictions(generator, rules, count):
    """Predicted and measured losses of so many random pairs: within two points of one another."""
    base, promises = dict(generator.module.state_dict()), {}
    pairs = list(itertools.combinations(rules, 2))[:count]
    assert len(pairs) == count
    losses = []
    for number, (one, other) in enumerate(pairs):
        both = [(one, 1.0), (other, (1.0, 0.5, -0.7)[number % 3])]
        found = members(generator, both)
        measured = retention(generator, both, [both])
        for member, kept in zip(found, measured, strict=True):
            name = member.edit.content, member.strength
            if name not in promises:
                promises[name] = promise_alone(generator, member, member.rule, base[member.rule.layer.weight])
            losses.append(among(generator, promises[name], found, base))
            assert losses[-1] == pytest.approx(1 - kept.retention, abs=POINTS)
    assert max(losses) > 0.3
    return losses


def test_predicted_losses_are_those_measured_on_small_generators(case, recipe_for):
    rules = random_rules(case.generator, [case.upper, case.lower], recipe_for, 7, 0, pastes=1)
    losses = check_predictions(case.generator, rules, 20)
    assert 0.0 in losses, "no pair had one rule upstream of the other"


@pytest.mark.real
def test_predicted_losses_are_those_measured_on_faces(faces64, recipe_for):
    rules = random_rules(faces64, ["main.9", "main.12"], recipe_for, 7, 1, pastes=1)
    check_predictions(faces64, rules, 20)


def test_measured_is_what_a_hook_sees(case):
    """The oracle: the layer's own output on the edited network, run from the latent to the image."""
    generator, layer = case.generator, case.generator.layer(case.upper)
    one, other = case.above[:2]
    recipe = parse(one.recipe)

    def seen(*pushed):
        values = []
        with edits.applied(generator.module, *pushed):
            weight = canonical(layer, generator.module.state_dict()[layer.weight])
            for region in recipe.paste:
                z = generator.latents([region.latent])
                with hooks.observe({"value": layer.module}) as observed:
                    observed.run(generator.synthesize, z)
                value = observed.outputs["value"].double()
                if layer.gain:
                    value = value * gain(layer, weight, style_of(generator.run_to(layer, z)))[:, :, None, None]
                values.append(value[0])
        return values

    base, alone, both = seen(), seen((one, 1.0)), seen((one, 1.0), (other, 1.0))
    # A rule weighs its positions by coverage; with a box of whole cells and no gain that is all of them alike.
    lost = size = 0.0
    for number, region in enumerate(recipe.paste):
        where = region.coverage(layer.out_resolution)
        own = 1.0
        if layer.gain:
            state = generator.run_to(layer, generator.latents([region.latent]))
            own = gain(layer, canonical(layer, generator.module.state_dict()[layer.weight]), style_of(state))
            own = own[0, :, None, None]
        lost += float((where * ((both[number] - alone[number]) / own) ** 2).sum())
        size += float((where * ((alone[number] - base[number]) / own) ** 2).sum())
    pairs = [(one, 1.0), (other, 1.0)]
    kept = next(kept for kept in retention(generator, pairs, [pairs]) if kept.content == one.content)
    assert 1 - kept.retention == pytest.approx((lost / size) ** 0.5, rel=1e-3)
    found = conflict(generator, pairs, try_resolve=False)
    place = [party.content for party in found.parties].index(one.content)
    assert found.losses_in_sum[place] == pytest.approx((lost / size) ** 0.5, rel=1e-3)


def test_retention_under_none_each_and_all(case):
    one, other = (edit.content for edit in case.above[:2])
    pairs = [(case.above[0], 1.0), (case.above[1], 1.0)]
    kept = {(k.content, k.under): k for k in retention(case.generator, pairs)}
    assert len(kept) == 8
    for content, edit in ((one, case.above[0]), (other, case.above[1])):
        assert kept[content, ()].retention == pytest.approx(0)
        assert kept[content, ()].residual == pytest.approx(1)
        assert kept[content, (content,)].retention == pytest.approx(1)
        assert kept[content, (content,)].residual == pytest.approx(edit.notes["residual"], rel=1e-3)
        assert kept[content, tuple(sorted((one, other)))].retention < 1


def test_a_rule_that_rounding_leaves_nothing_of_has_no_retention(case):
    with pytest.raises(RewriteError, match=f"nothing of rule {case.above[0].content[:12]}"):
        retention(case.generator, [(case.above[0], 1e-12), (case.above[1], 1.0)])


def test_everything_is_there_for_machines(case):
    pairs = [(case.above[0], None), (case.above[1], 0.5)]
    found = conflict(case.generator, pairs, names={case.above[0].content: "hat"})
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert sorted(party["name"] for party in told["parties"])[-1] == "hat"
    assert [party["content"] for party in told["parties"]] == sorted(edit.content for edit in case.above[:2])
    assert told["thresholds"]["loss"] == {"warn": 0.05, "conflict": 0.3}
    assert told["losses"][0][0] is None
    assert told["losses"][0][1] == told["losses_in_sum"][0]
    assert told["verdict"]["level"] in LEVELS
    assert told["layers"][0]["together"]["background"] > 0


def test_the_order_of_the_edits_does_not_matter(case):
    pairs = [(case.above[0], 1.0), (case.above[1], 0.5), (case.below[0], 1.0)]
    assert conflict(case.generator, pairs, try_resolve=False) == conflict(
        case.generator, pairs[::-1], try_resolve=False
    )


def test_what_resolve_would_do_is_what_it_does(case):
    pairs = [(case.above[0], 1.0), (case.above[1], 1.0)]
    found, notes = conflict(case.generator, pairs), resolve(case.generator, pairs).notes
    told = {kept["content"]: kept["loss"] for kept in notes["layers"][0]["rules"]}
    assert found.resolved.losses == tuple(told[party.content] for party in found.parties)
    assert found.resolved.background_shift == {case.upper: notes["layers"][0]["background_shift"]}
    assert found.verdict.level == "conflict"
    assert "resolve" in found.verdict.remedy


def test_a_resolved_edit_is_looked_at_as_its_members(case):
    pairs = [(case.above[0], 1.0), (case.above[1], 1.0)]
    whole = resolve(case.generator, pairs)
    assert conflict(case.generator, [(whole, None)], try_resolve=False) == conflict(
        case.generator, pairs, try_resolve=False
    )


def test_a_gentle_rule_by_itself_is_fine(case, recipe_for):
    gentle = rule(case.generator, recipe_for(case.upper, mu=30.0, nu=30.0))
    found = conflict(case.generator, [(gentle, None)])
    assert found.verdict.level == "fine", found.verdict
    assert found.losses == ((None,),)
    assert found.losses_in_sum == (0.0,)
    assert found.resolved is None


def test_two_sets_of_one_element_clash(case):
    generator, layer = case.generator, case.generator.layer(case.upper)
    base = edits.describe(generator.module, [layer.weight], architecture=generator.architecture)
    sets = [
        edits.Edit(
            {layer.weight: (edits.Set(layer.shape, edits.Elements(torch.tensor([5]), torch.tensor([v]))),)}, base
        )
        for v in (0.5, 0.75)
    ]
    found = conflict(generator, [(sets[0], 1.0), (sets[1], 1.0), (case.above[0], 1.0)])
    assert [clash.pair for clash in found.clashes] == [
        tuple(sorted(i for i, party in enumerate(found.parties) if party.layer is None))
    ]
    assert found.verdict.level == "conflict"
    assert "different values" in found.verdict.because
    assert set(found.losses_in_sum) == {None}
    assert found.resolved is None


def test_an_edit_without_a_recipe_has_no_loss_of_its_own(case, by_hand):
    hand = by_hand(case.generator, case.upper, 0.5)
    found = conflict(case.generator, [(hand, 1.0), (case.above[0], 1.0)])
    i = [party.content for party in found.parties].index(hand.content)
    assert found.parties[i].layer is None
    assert found.losses[i] == (None, None)
    assert found.losses[1 - i][i] > 0.05
    assert found.resolved.losses[i] is None
    assert found.resolved.losses[1 - i] < found.losses_in_sum[1 - i]


def test_hands_that_pull_alike_are_told_by_natural_images(case, by_hand):
    one = by_hand(case.generator, case.upper, 0.01)
    form = one.operations[one.touched[0]][0].form
    twin = replace(one, operations={one.touched[0]: (edits.Add(form.dense.shape, edits.Dense(-1.5 * form.dense)),)})
    found = conflict(case.generator, [(one, 1.0), (twin, 1.0)])
    assert found.touches[0].cosine == pytest.approx(-1, abs=1e-6)
    assert found.verdict.level == "warn"
    assert "opposite" in found.verdict.because


def test_what_rounding_keeps_is_told(case):
    found = conflict(case.generator, [(case.above[0], 1.0), (case.above[1], 0.5)], try_resolve=False)
    assert [one.party for one in found.rounding] == [0, 1, None]
    assert all(one.dtype == "float32" and one.lost < 1e-3 for one in found.rounding)


def test_half_precision_loses_a_faint_change(case):
    generator, name = case.generator, case.generator.layer(case.upper).weight
    half = generator.module.state_dict()[name].bfloat16()
    (faint,) = members(generator, [(case.above[0], 0.01)])
    (told,) = _rounding([faint], {name: half}, summed=True)
    exact = materialise(half.double(), changes(faint.edit, 0.01)[name])
    lost = (exact.bfloat16().double() - exact).norm() / (exact - half.double()).norm()
    assert told.dtype == "bfloat16"
    assert told.lost == pytest.approx(float(lost), rel=1e-6)
    assert told.lost > THRESHOLDS["lost_to_rounding"].warn


def test_a_change_of_nothing_touches_nobody(case, by_hand):
    """An adapter may hold a module whose factors are zero."""
    hand = by_hand(case.generator, case.lower)
    name = case.generator.layer(case.upper).weight
    shape = case.generator.layer(case.upper).shape
    base = edits.describe(case.generator.module, [name, *hand.touched], architecture=case.generator.architecture)
    nothing = edits.Add(shape, edits.Dense(torch.zeros(shape)))
    adapter = edits.Edit({**hand.operations, name: (nothing,)}, base)
    found = conflict(case.generator, [(adapter, 1.0), (case.above[0], 1.0)])
    assert found.touches == ()
    assert found.losses_in_sum[1 - [party.layer for party in found.parties].index(None)] == 0
    json.dumps(found.as_json(), allow_nan=False)


def test_the_module_is_left_as_it_was_when_it_is_not_the_base(case):
    generator = case.generator
    tensor = generator.module.state_dict()[generator.layer(case.upper).weight]
    kept = tensor.clone()
    tensor.mul_(1.01)
    try:
        with pytest.raises(edits.EditError, match="are not the weights"):
            conflict(generator, [(case.above[0], None), (case.above[1], None)])
        assert torch.equal(tensor, kept * 1.01)
    finally:
        tensor.copy_(kept)


def test_thresholds_make_levels():
    assert [Threshold(0.05, 0.3).level(value) for value in (0.05, 0.06, 0.3, 0.31)] == [
        "fine", "warn", "warn", "conflict",
    ]  # fmt: skip
    assert Threshold(1.0).level(1e9) == "warn"
    assert all(t.conflict is None or t.warn < t.conflict for t in THRESHOLDS.values())


def test_the_worst_finding_is_the_verdict_and_the_surest_of_equals():
    warn, first, second = (
        Finding(level, because, "do") for level, because in (("warn", "w"), ("conflict", "1"), ("conflict", "2"))
    )
    assert verdict([warn, first, second], True).because == "1"
    assert verdict([Finding("fine", "f", "do"), warn], True).level == "warn"
    assert verdict([Finding("fine", "f", "do")], True).level == "fine"
    assert verdict([], True).remedy == "a plain sum will do"
    assert "none of the edits has a recipe" in verdict([], False).because
