"""What is read off a scene is what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factors import Readings
from scenes import render
from scenes.factors import FACTORS, Reading
from scenes.scene import draw

SEEDS = np.arange(300)


@pytest.fixture(scope="module")
def seen() -> dict[str, Reading]:
    images, maps = (torch.from_numpy(one) for one in render(SEEDS))
    return {factor.name: factor.read(images.float() / 127.5 - 1, maps.long()) for factor in FACTORS}


def test_words_are_what_was_drawn(seen: dict[str, Reading]) -> None:
    scene = draw(SEEDS)
    drawn = {
        "hour of day": scene.hour,
        "tree colour": scene.leaf[:, 0, 0] > scene.leaf[:, 0, 1],
        "building kind": scene.kind,
    }
    for name, truth in drawn.items():
        read = seen[name]
        assert float(read.seen.float().mean()) > 0.9
        right = read.words == torch.from_numpy(np.asarray(truth).astype(np.int64))
        assert float(right[read.seen].float().mean()) > 0.97


def test_one_factor_is_read_whatever_the_others(seen: dict[str, Reading]) -> None:
    """At night trees are read as green or not as by day: the light is taken off."""
    hours, trees = seen["hour of day"].words, seen["tree colour"]
    for word in (0, 1):
        means = [trees.vectors[(trees.words == word) & (hours == hour)].mean() for hour in range(4)]
        assert max(means) - min(means) < 0.25 * float(trees.vectors[trees.seen].max() - trees.vectors[trees.seen].min())


def test_effects_are_shares_of_what_lies_between_two_scenes(seen: dict[str, Reading]) -> None:
    here = Readings(seen)
    order = torch.randperm(len(SEEDS), generator=torch.Generator().manual_seed(0))
    other = Readings({name: Reading(one.vectors[order], one.words[order]) for name, one in seen.items()})
    spread = here.spread()
    assert all(value == pytest.approx(1, abs=0.1) for value in here.effects(other, spread).values())
    assert not any(here.effects(here, spread).values())
    assert not any(here.turned(here).values())
