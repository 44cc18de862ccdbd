"""The published descent against the plainest way of writing it down."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rewrite.background import background
from rewrite.memory import canonical, gain, maps, respond, style_of
from rewrite.regions import bounds
from rewrite.rules import parse
from rewrite.rules.context import context, directions
from rewrite.rules.evidence import gather
from rewrite.rules.gradient import LEARNING_RATE, descend, rectangle_response


@pytest.fixture
def prepared(case, recipe_for):
    generator, name = case
    recipe, layer = (
        parse(recipe_for(name, paste=[{"seed": 2, "box": [0.2, 0.2, 0.7, 0.6]}], method="gradient")),
        generator.layer(name),
    )
    world = background(generator, layer, samples=16)
    weight = canonical(layer, generator.module.state_dict()[layer.weight])
    evidence = gather(generator, layer, recipe, world)
    read = context(directions(evidence, world.moments.at((0, 0)), recipe.eps), 2)
    return generator, layer, weight, evidence, read


def test_a_rectangle_responds_as_the_whole_map_does_there(prepared):
    _, layer, weight, evidence, _ = prepared
    key = evidence.placed[0].key
    whole = respond(layer, key, weight)
    height, width = whole.shape[2:]
    for rectangle in [(0, 0, height, width), (1, 2, height - 1, width), (0, 1, 1, 2), (height - 1, 0, height, width)]:
        top, left, bottom, right = rectangle
        found = rectangle_response(layer, key, rectangle)(weight)
        torch.testing.assert_close(found, whole[:, :, top:bottom, left:right])


def test_the_descent_is_the_published_loop(prepared):
    """Rewriting's loop, written on the whole map in float64: Adam on all of W, projection every tenth step."""
    generator, layer, weight, evidence, read = prepared
    placed, steps = evidence.placed[0], 31
    top, left, bottom, right = bounds(placed.where)
    state = generator.run_to(layer, generator.latents([2]))
    key, style = maps(state.key).double(), style_of(state)
    base_gain = gain(layer, weight, style)
    blended = placed.value * (1 - placed.where) + placed.wanted * placed.where

    def projected(matrix):
        return torch.einsum("oihw,ri,rj->ojhw", matrix, read, read)

    edited = weight.clone().requires_grad_()
    ortho = weight - projected(weight)
    adam = torch.optim.Adam([edited], lr=LEARNING_RATE * float(weight.float().std()))
    for step in range(steps):
        value = respond(layer, key, edited)[0]
        if layer.gain:
            value = value * (gain(layer, edited, style) / base_gain)[0, :, None, None]
        loss = F.l1_loss(value[:, top:bottom, left:right], blended[:, top:bottom, left:right])
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 10 == 0 or step == steps - 1:
            with torch.no_grad():
                edited.copy_(ortho + projected(edited))
    slow = (edited - weight).detach()
    fast = descend(layer, weight, evidence.placed, read, steps=steps).dense()
    assert float((slow - fast).norm() / slow.norm()) < 0.05


def test_the_descent_lowers_its_loss(prepared):
    _, layer, weight, evidence, read = prepared
    placed = evidence.placed[0]

    def distance(change):
        value = respond(layer, placed.key, weight + change.dense())[0]
        if layer.gain:
            value = value * (gain(layer, weight + change.dense(), placed.style) / placed.gain)[0, :, None, None]
        return float(((value - placed.wanted).abs() * placed.where).sum())

    short, long = (descend(layer, weight, evidence.placed, read, steps=steps) for steps in (1, 201))
    assert distance(long) < distance(short.scaled(0))
    assert distance(long) < distance(short)
