"""What is seen of the base is seen once, and changes no figure."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import pytest
import torch

import rewrite.check.look as looking
from rewrite.check import Remembered, box, check
from rewrite.check.gate import HELD_OUT
from rewrite.check.look import look
from rewrite.concepts import scenes


@pytest.fixture
def painted(monkeypatch) -> list[int]:
    """The seeds that images are made of, in order."""
    seen: list[int] = []
    plain = looking.images
    monkeypatch.setattr(looking, "images", lambda G, seeds, view: (seen.extend(seeds), plain(G, seeds, view))[1])
    return seen


def test_a_second_check_paints_the_edited_images_alone_and_finds_the_same(generator, eyes, noise, painted):
    remembered, view = Remembered(generator), replace(eyes, place=box([0.2, 0.2, 0.7, 0.7]))
    options = {"samples": 24, "cap": 24, "remembered": remembered}
    check(generator, [(noise(0.1), 1.0)], view, **options)
    painted.clear()
    second = check(generator, [(noise(0.3), 1.0)], view, **options)
    assert painted == list(range(24))
    alone = check(generator, [(noise(0.3), 1.0)], view, samples=24, cap=24)
    assert second.facts == alone.facts
    assert second.outcome == alone.outcome


def test_another_way_of_looking_is_looked_at_anew(generator, eyes, noise, painted):
    remembered = Remembered(generator)
    look(generator, [(noise(0.1), 1.0)], range(8), eyes, remembered=remembered)
    painted.clear()
    look(generator, [(noise(0.1), 1.0)], range(8), replace(eyes, truncation=0.5), remembered=remembered)
    assert painted == [*range(8), *range(8)]


class Unhashable:
    """A segmenter as a user may bring it: its fields compare, so that Python takes its hash away."""

    classes = ("dark", "bright")

    def __eq__(self, other):
        return isinstance(other, Unhashable)

    def __call__(self, images):
        return torch.stack([-images.mean(1), images.mean(1)], dim=1)


@pytest.mark.parametrize("judge", [Unhashable(), scenes.segmenter()], ids=["of a user", "of scenes"])
def test_a_segmenter_is_itself_and_no_other(generator, eyes, noise, painted, judge):
    remembered, view = Remembered(generator), replace(eyes, segmenter=judge)
    look(generator, [(noise(0.1), 1.0)], range(8), view, remembered=remembered)
    painted.clear()
    again = look(generator, [(noise(0.1), 1.0)], range(8), replace(view), remembered=remembered)
    assert painted == [*range(8)]
    assert again.areas["base"].shape == (8, len(judge.classes))
    look(generator, [(noise(0.1), 1.0)], range(8), replace(view, segmenter=copy(judge)), remembered=remembered)
    assert painted == [*range(8)] * 3


def test_large_images_are_not_kept(generator, eyes, noise, painted):
    remembered = Remembered(generator, largest=generator.resolution - 1)
    for _ in range(2):
        look(generator, [(noise(0.1), 1.0)], range(4), eyes, remembered=remembered)
    assert painted == [0, 1, 2, 3] * 4
    assert not remembered.kept


def test_of_large_images_the_held_out_features_are_kept(generator, eyes, noise, painted):
    remembered, options = Remembered(generator, largest=generator.resolution - 1), {"samples": 8, "cap": 8}
    for _ in range(2):
        check(generator, [(noise(0.1), 1.0)], eyes, **options, remembered=remembered)
    assert painted == [*range(HELD_OUT, HELD_OUT + 8), *range(8), *range(8), *range(8), *range(8)]


def test_distances_to_several_are_those_of_the_pairs(eyes):
    one, *others = torch.rand(4, 3, 3, 64, 64) * 2 - 1
    for found, other in zip(eyes.distance.several(one, *others), others, strict=True):
        assert torch.equal(found, eyes.distance(one, other))
