"""Units found without a segmenter: by what is rare in a painted region, and by what they are most on for."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from rewrite.errors import RewriteError
from rewrite.latents import Row
from rewrite.ranking import rarity
from rewrite.regions import box_coverage
from rewrite.stats import Histogram
from rewrite.units import Painted, audit, patch, rarest, shown
from rewrite.units.features import World, hold, sites
from rewrite.units.result import Seen

PLANTED = 5


def test_rarity_is_minus_log_of_the_share_above():
    generator = torch.Generator().manual_seed(0)
    natural = torch.randn(4, 3, 32, 32, generator=generator)
    values, weight = torch.randn(6, 3, generator=generator), torch.rand(6, generator=generator)
    found = rarity(values, weight, Histogram.empty(3).add(natural))
    for unit in range(3):
        above = [float((natural[:, unit] >= value).double().mean()) for value in values[:, unit]]
        slow = -(weight.double().numpy() * np.log(above)).sum() / float(weight.sum())
        assert float(found[unit]) == pytest.approx(slow, rel=0.02)


def test_values_beyond_all_natural_ones_are_rare_but_finite():
    natural = Histogram.empty(2).add(torch.rand(1, 2, 10, 10))
    found = rarity(torch.tensor([[5.0, 0.1]]), torch.ones(1), natural)
    assert found[0] == pytest.approx(np.log(200))
    assert found[1] < 0.5


def test_the_unit_that_paints_doors_is_rarest_where_a_door_is(toy, segmenter):
    held = hold(toy, sites(toy)["body"], World().styles(toy, 1, range(60)))
    peaks = held.features[:, PLANTED].flatten(1)
    row = int(peaks.amax(1).argmax())
    cell = int(peaks[row].argmax())
    y, x = cell // 8, cell % 8
    box = (x / 8, y / 8, (x + 1) / 8, (y + 1) / 8)
    found = rarest(toy, "body", [Painted(Row(1, row), partial(box_coverage, box))], samples=64)
    assert sorted(unit for _, unit in found) == list(range(8))
    assert [score for score, _ in found] == sorted((score for score, _ in found), reverse=True)
    assert PLANTED in [unit for _, unit in found[:2]]


def test_a_region_of_nothing_is_refused(toy):
    with pytest.raises(RewriteError, match="covers nothing"):
        rarest(toy, "body", [Painted(3, partial(box_coverage, (0.5, 0.5, 0.5, 0.5)))], samples=4)


def test_a_patch_is_about_its_cell_and_inside_the_image():
    middle = patch(Seen(0, 1.0, (3, 4), ""), (8, 8), (64, 64), margin=1)
    assert middle == (16, 24, 40, 48)
    assert patch(Seen(0, 1.0, (0, 7), ""), (8, 8), (64, 64), margin=1) == (0, 40, 24, 64)
    assert patch(Seen(0, 1.0, (0, 0), ""), (1, 1), (64, 64)) == (0, 0, 64, 64)


def test_shown_images_are_those_the_unit_was_most_on_for(toy):
    found = audit(toy, samples=40)
    images, masks = shown(toy, found, "body", PLANTED)
    tops = found.layer("body").units[PLANTED].top
    ws = World().styles(toy, 1, [seen.row for seen in tops])
    torch.testing.assert_close(images, toy.synthesize(ws=ws))
    features = hold(toy, sites(toy)["body"], ws).features[:, PLANTED]
    assert torch.equal(masks, features > found.layer("body").units[PLANTED].threshold)
    assert masks.flatten(1).any(1).all()
