"""Strength 1 gives the stated change; directions that do the same are told once; labels say what moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import edits
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation import bench, calibrate, directions
from rewrite.navigation.alike import cosines
from rewrite.navigation.calibration import Rung, _falls, _saturates
from rewrite.navigation.direction import Found, scaled
from rewrite.navigation.equal import equal_effect
from rewrite.navigation.labels import label
from rewrite.navigation.metric import metric
from rewrite.navigation.reach import CLOSE, reach
from rewrite.navigation.where import box
from rewrite.perception import Extractor, Identity

SEEDS = tuple(range(4))


class Patches(nn.Module):
    """Two patches of 8 px, one a latent number each: red on the left, grey on the right. Weights are brightnesses."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(2, 3)
        self.right = nn.Linear(2, 3)
        self.spare = nn.Parameter(torch.zeros(2))

    def forward(self, z):
        halves = [side(z.tanh())[:, :, None, None].expand(-1, -1, 16, 8) for side in (self.left, self.right)]
        return torch.cat(halves, 3).clamp(-1, 1)


class Halves:
    """The left half is a door, the right one a wall."""

    classes = ("wall", "door", "sky")

    def __call__(self, images):
        found = torch.zeros(len(images), 3, *images.shape[2:])
        found[:, 1, :, :8], found[:, 0, :, 8:] = 1, 1
        return found


def shift(generator, name, amount=0.1, entries=slice(None)):
    """An edit of a bias."""
    stored = generator.module.state_dict()[name]
    change = torch.zeros_like(stored)
    change[entries] = amount
    return edits.Edit(
        {name: (edits.Add(tuple(stored.shape), edits.Dense(change)),)}, edits.describe(generator.module, [name])
    )


@pytest.fixture
def patches() -> Generator:
    torch.manual_seed(0)
    return Generator.wrap(Patches().requires_grad_(False), latent=2, name="patches")


@pytest.fixture
def place(patches):
    return bench(patches, metric("pixels"), seeds=SEEDS)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("target", [None, 0.003])
def test_strength_one_is_the_stated_change(patches, place, scale, target):
    edit, found = calibrate(shift(patches, "left.bias", scale), place, target=target)
    assert found.target == pytest.approx(0.1 * place.between if target is None else target, rel=1e-4)
    measured = []
    for strength in (1.0, -1.0):
        base = patches.synthesize(patches.latents(SEEDS))
        with edits.applied(patches.module, (edit, strength)):
            moved = patches.synthesize(patches.latents(SEEDS))
        measured.append(float((moved - base).square().mean((1, 2, 3)).mean()))
    assert sum(measured) / 2 == pytest.approx(found.target, rel=1.1 * CLOSE)
    assert {one.strength: one.distance for one in found.curve}[1.0] == pytest.approx(measured[0], rel=1e-4)
    assert found.lowest <= 0 <= found.highest
    assert "pixels" in found.says


def test_what_is_out_of_reach_is_said(patches, place):
    edit, found = calibrate(shift(patches, "left.bias"), place, target=1e3)
    assert found.reached < found.target
    assert "out of its reach" in found.says
    assert place.moved(edit, 1.0).distance > 0


def test_a_sign_turned_or_a_scale_does_not_matter(patches, place):
    edit = shift(patches, "left.bias")
    one, other = (calibrate(each, place)[0] for each in (edit, scaled(edit, -7.0)))
    apart = cosines([one, other, shift(patches, "right.bias"), shift(patches, "left.bias", 1e-9)], place)
    assert apart[0, 1] == pytest.approx(-1, abs=0.05)
    assert abs(apart[0, 2]) < 0.01
    assert torch.equal(apart, apart.T)
    found = [
        Found(each, name) for each, name in ((edit, "a"), (scaled(edit, -2), "b"), (shift(patches, "right.bias"), "c"))
    ]
    kept = directions(found, place, method="by hand")
    assert [one.name for one in kept] == ["a", "c"]
    assert kept[0].same == ("b",)
    assert kept[0].edit.notes["calibration"]["reached"] == kept[0].calibration.reached


def test_an_edit_that_sets_is_measured_as_it_is(patches, place):
    form = edits.Elements(torch.tensor([0]), torch.tensor([0.9]))
    edit = edits.Edit({"left.bias": (edits.Set((3,), form),)}, edits.describe(patches.module, ["left.bias"]))
    same, found = calibrate(edit, place)
    assert same is edit
    assert found.factor == 1
    assert [one.strength for one in found.curve] == [0, 1]
    with pytest.raises(RewriteError, match="scales or sets"):
        scaled(edit, 2.0)


def test_refusals(patches, place):
    with pytest.raises(RewriteError, match="above 0"):
        calibrate(shift(patches, "left.bias"), place, target=-1)
    with pytest.raises(RewriteError, match="two at least"):
        bench(patches, metric("pixels"), seeds=[1])
    with pytest.raises(RewriteError, match="changes none"):
        calibrate(shift(patches, "spare"), place)


def test_where_a_curve_stops():
    line = [Rung(s, s**2, 1.0) for s in (0, 0.5, 1, 2, 4)]
    assert _saturates(line) is None
    flat = [Rung(s, min(s, 1) ** 2, 1.0 if s < 2 else 0.5) for s in (0, 0.5, 1, 2, 4)]
    assert _saturates(flat) == 1
    assert _falls(flat) == 2
    assert _falls(line) is None


def test_realism_falls_where_images_leave_the_others(patches):
    eye = Extractor(Identity("means"), lambda images: images.mean((2, 3)))
    there = bench(patches, metric("pixels"), seeds=SEEDS, eye=eye)
    _, found = calibrate(shift(patches, "left.bias", 0.1), there, target=0.3)
    assert found.curve[len(found.curve) // 2].real is not None
    assert found.falls != (None, None)
    assert found.lowest > -4 or found.highest < 4


def test_labels_say_what_moves(patches, place):
    edit, _ = calibrate(shift(patches, "left.bias"), place)
    found = label(edit, place, Halves())
    assert found.main == "door"
    assert found.disentanglement == pytest.approx(1)
    assert found.classes["wall"].share == 0
    assert found.classes["door"].area == pytest.approx(0.5)
    assert found.classes["door"].grows == 0
    assert found.classes["door"].brighter > 0.02
    assert "lighter" in found.says
    turned = label(scaled(edit, -1), place, Halves())
    assert turned.classes["door"].brighter == pytest.approx(-found.classes["door"].brighter)
    both = replace(edit, operations={**edit.operations, **shift(patches, "right.bias").operations},
                   base=edits.describe(patches.module, ["left.bias", "right.bias"]))  # fmt: skip
    shares = label(both, place, Halves())
    assert sum(one.share for one in shares.classes.values()) == pytest.approx(1)


def test_a_strength_is_found_or_half_of_what_can_be_had():
    assert reach(lambda x: 3 * x**2, 12)[0] == pytest.approx(2, rel=CLOSE)
    assert reach(lambda x: 1e-7 * x**1.3, 5)[1] == pytest.approx(5, rel=CLOSE)
    assert reach(lambda x: x**2 / (1 + x**2), 7)[1] == pytest.approx(0.5, rel=0.1)
    assert reach(lambda _: 0.0, 7) == (1.0, 0.0)
    assert reach(lambda x: max(0.0, x - 1e-3), 1e-30)[1] > 0


def test_at_equal_effect_what_leaks_is_told(patches, place):
    left, right = shift(patches, "left.bias", 0.01), shift(patches, "right.bias", 0.01)
    both = replace(left, operations={**left.operations, **right.operations},
                   base=edits.describe(patches.module, ["left.bias", "right.bias"]))  # fmt: skip
    found = equal_effect(
        {"left": left, "twice": scaled(left, 2), "both": both, "right": right}, place, box([0, 0, 0.5, 1]), 0.002
    )
    assert all(found[name].inside == pytest.approx(0.002, rel=2 * CLOSE) for name in ("left", "twice", "both"))
    assert found["twice"].strength == pytest.approx(found["left"].strength / 2, rel=0.05)
    assert found["left"].leak == pytest.approx(0, abs=1e-4)
    assert found["both"].leak > 0.5
    assert not found["right"].reached
