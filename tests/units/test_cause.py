"""What units cause, by hand on a toy world; sets of units found by optimisation; readouts in the right cell."""

from __future__ import annotations

import pytest
import torch

from rewrite.concepts import labels as label_maps
from rewrite.errors import RewriteError
from rewrite.units.cause import CAUSING, cumulative, inserted, only, silenced
from rewrite.units.features import World, hold, replaced, sites
from rewrite.units.optimise import optimise, probability

PLANTED, GREY, DOOR = 5, 2, 1


def areas(generator, segmenter, units, count):
    """Shares (N, C) of each image, units silenced by an edit of the weights."""
    kept = generator.module.paint.weight.clone()
    generator.module.paint.weight[units] = 0
    images = generator.synthesize(ws=World().styles(generator, CAUSING, range(count)))
    generator.module.paint.weight.copy_(kept)
    found = label_maps(segmenter, images)
    return torch.stack([(found == c).double().mean((1, 2)) for c in range(3)], 1)


def test_silencing_is_measured_on_pairs(toy, segmenter):
    found = silenced(toy, "body", [[PLANTED], [0, GREY]], segmenter, samples=40, controls=2)
    before = areas(toy, segmenter, [], 40)
    for units, effect in zip(([PLANTED], [0, GREY]), found.effects, strict=True):
        lost = before - areas(toy, segmenter, units, 40)
        assert effect.units == tuple(units)
        torch.testing.assert_close(torch.tensor(effect.lost, dtype=torch.float64), lost.mean(0))
        torch.testing.assert_close(torch.tensor(effect.lost_error, dtype=torch.float64), lost.std(0) / 40**0.5)
    door = found.effects[0]
    assert door.removed[DOOR] == pytest.approx(1)
    assert door.lost[DOOR] > 3 * door.lost_error[DOOR] > 0
    assert found.concepts == segmenter.classes


def test_controls_are_other_units_and_as_many(toy, segmenter):
    found = silenced(toy, "body", [[PLANTED], [PLANTED, 1, 0]], segmenter, samples=8, controls=3)
    assert len(found.controls) == 3
    for draw in found.controls:
        assert [len(effect.units) for effect in draw] == [1, 3]
        assert not {PLANTED, 1, 0} & set(draw[1].units)
        assert abs(draw[0].removed[DOOR]) < found.effects[0].removed[DOOR]
    again = silenced(toy, "body", [[PLANTED], [PLANTED, 1, 0]], segmenter, samples=8, controls=3)
    assert again == found


def test_a_ranking_is_silenced_unit_by_unit(toy, segmenter):
    found = cumulative(toy, "body", [0, PLANTED, 1], segmenter, most=2, samples=16, controls=1)
    assert [effect.units for effect in found.effects] == [(0,), (0, PLANTED)]
    assert found.effects[1].removed[DOOR] > 0.9 > found.effects[0].removed[DOOR]


def test_no_units_are_refused(toy, segmenter):
    for sets in ([], [[]], [[8]], [[1, 1]]):
        with pytest.raises(RewriteError, match="expected"):
            silenced(toy, "body", sets, segmenter, samples=4)


def test_inserting_brings_the_concept_to_the_cell(toy, segmenter):
    levels = torch.full((8,), 0.8)
    found = inserted(toy, "body", [PLANTED], levels, segmenter, "door", samples=32, controls=2)
    assert found.gained > 0.5
    assert all(found.gained > gain + 3 * (error + found.error) for gain, error in found.controls)
    assert sum(count for _, _, count in found.by_context.values()) == 32
    with pytest.raises(RewriteError, match="knows no"):
        inserted(toy, "body", [PLANTED], levels, segmenter, "dor")


def test_one_cell_is_one_cell():
    found = only(torch.tensor([0, 5]), (2, 3))
    assert found.sum() == 2
    assert found[0, 0, 0] == 1
    assert found[1, 1, 2] == 1


def test_optimisation_finds_what_paints(toy, segmenter):
    found = optimise(toy, "body", segmenter, "door", samples=48, keep=16, steps=60, rate=0.05)
    assert found.ranked[0] == PLANTED
    assert found.alpha[PLANTED] > 0.9
    assert found.alpha[PLANTED] > sorted(found.alpha)[-2] + 0.2
    assert found.losses[-1] < found.losses[0]
    assert all(0 <= value <= 1 for value in found.alpha)
    assert 0 < len(found.erase.rows) <= 16
    labels = label_maps(segmenter, toy.synthesize(ws=World().styles(toy, 10, found.erase.rows)))
    for label, cell in zip(labels, found.erase.cells, strict=True):
        row, column = 2 * (cell // 8), 2 * (cell % 8)
        assert (label[row : row + 2, column : column + 2] == DOOR).any(), "the concept is where it is erased"
    labels = label_maps(segmenter, toy.synthesize(ws=World().styles(toy, 11, found.insert.rows)))
    for label, cell in zip(labels, found.insert.cells, strict=True):
        row, column = 2 * (cell // 8), 2 * (cell % 8)
        assert not (label[row : row + 2, column : column + 2] == DOOR).any(), "it is not where it is brought"


def test_what_is_inserted_is_read_where_it_is_inserted(toy, segmenter):
    """The published code reads it at the erased cell, where inserting far away changes nothing."""
    held = hold(toy, sites(toy)["body"], World().styles(toy, 11, range(4)))
    level = torch.full((8,), 0.8)

    def slope(alpha_at, read_at):
        alpha = torch.full((8,), 0.5, requires_grad=True)
        where = only(alpha_at, (8, 8))
        if torch.equal(alpha_at, read_at):
            found = probability(held, read_at, alpha, level, segmenter, DOOR)
        else:
            images = held.images(replaced(held.features, torch.arange(8), level, amount=alpha, where=where))
            chance = segmenter(images).softmax(1)[:, DOOR].unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4))
            found = (chance * only(read_at, (8, 8))).sum((1, 2))
        (gradient,) = torch.autograd.grad(found.sum(), alpha)
        return gradient

    here, far = torch.tensor([9, 9, 18, 27]), torch.tensor([63, 62, 55, 54])
    assert slope(here, here)[PLANTED] > 0.05
    assert slope(here, far)[PLANTED] == 0


def test_a_concept_that_is_never_there_cannot_be_optimised(toy, segmenter):
    class Never:
        classes = ("all", "nothing")

        def __call__(self, images):
            return torch.stack([images[:, 0] * 0 + 1, images[:, 0] * 0], 1)

    with pytest.raises(RewriteError, match="in none of 8 images"):
        optimise(toy, "body", Never(), "nothing", samples=8)
    with pytest.raises(RewriteError, match="expected different ones"):
        silenced(toy, "body", [[8]], segmenter)
