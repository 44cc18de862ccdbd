"""What is seen of the base is seen once, and changes no figure."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import rewrite.check.look as looking
from rewrite.check import Remembered, box, check
from rewrite.check.look import look


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


def test_large_images_are_not_kept(generator, eyes, noise, painted):
    remembered = Remembered(generator, largest=generator.resolution - 1)
    for _ in range(2):
        look(generator, [(noise(0.1), 1.0)], range(4), eyes, remembered=remembered)
    assert painted == [0, 1, 2, 3] * 4
    assert not remembered.kept


def test_distances_to_several_are_those_of_the_pairs(eyes):
    one, *others = torch.rand(4, 3, 3, 64, 64) * 2 - 1
    for found, other in zip(eyes.distance.several(one, *others), others, strict=True):
        assert torch.equal(found, eyes.distance(one, other))
