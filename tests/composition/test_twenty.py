"""Twenty rules on one layer: a plain sum, one after another, and resolved."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch

import edits
from rewrite.composition import resolve, retention
from rewrite.composition.changes import moved
from rewrite.composition.members import members
from rewrite.composition.promise import promise_alone, written
from rewrite.memory import canonical
from rewrite.models import dcgan
from rewrite.rules import rule

COUNT = 20
LAYER = "main.3"


@pytest.fixture(scope="module")
def crowded(recipe_for):
    """A generator with a layer of some room, recipes of twenty rules for it, and the rules."""
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=32, channels=(96, 48, 8, 3))
    generator = dcgan.generator(module.eval().requires_grad_(False), name="roomy-dcgan")
    draw, recipes = np.random.RandomState(0), []
    for number in range(COUNT):
        x, y = draw.uniform(0, 0.6, 2)
        box = [round(float(side), 3) for side in (x, y, x + 0.4, y + 0.4)]
        recipes.append(recipe_for(LAYER, 10 * number + 1, box, rank=4, samples=64))
    return generator, recipes, [(rule(generator, recipe), 1.0) for recipe in recipes]


def one_after_another(generator, recipes):
    """The layer's weight after each rule was written into the weights that the ones before it left, copies and all."""
    name = generator.layer(LAYER).weight
    with edits.applied(generator.module) as stack:
        for recipe in recipes:
            stack.push(rule(generator, recipe), 1.0, force=True)
        return generator.module.state_dict()[name].clone()


def test_twenty_rules_are_kept_by_resolve_and_lost_in_a_sum(crowded, record_property):
    generator, recipes, pairs = crowded
    layer = generator.layer(LAYER)
    base = generator.module.state_dict()[layer.weight].clone()
    resolved = resolve(generator, pairs)
    kept = {
        "sum": [kept.retention for kept in retention(generator, pairs, [pairs])],
        "resolve": [kept.retention for kept in retention(generator, pairs, [[(resolved, None)]])],
    }
    change = moved(layer, base, one_after_another(generator, recipes))
    found = [promise_alone(generator, member, member.rule, base) for member in members(generator, pairs)]
    weight = canonical(layer, base)
    kept["one after another"] = [1 - one.loss(written(layer, weight, one.evidence, change)) for one in found]
    means = {how: statistics.mean(values) for how, values in kept.items()}
    worst = {how: min(values) for how, values in kept.items()}
    for how in kept:
        print(f"{COUNT} rules, {how}: retention {means[how]:.3f} in the mean, {worst[how]:.3f} at worst")  # noqa: T201
        record_property(how, means[how])
    assert means["resolve"] > 0.9 > 0 > max(means["one after another"], means["sum"])
    assert worst["resolve"] > 0.9 > 0 > max(worst["one after another"], worst["sum"])
    shifts = resolved.notes["layers"][0]
    assert shifts["background_shift"] < 1.1 * shifts["background_shift_of_sum"]


def test_one_of_twenty_is_taken_out_exactly(crowded, packed):
    generator, _, pairs = crowded
    resolved = resolve(generator, pairs)
    gone = pairs[7][0].content
    left = [(member, strength) for member, strength in resolved.members if member.content != gone]
    assert packed(resolve(generator, left)) == packed(resolve(generator, [p for p in pairs if p[0].content != gone]))
