"""Sides, cosines and crowds against what they mean."""

from __future__ import annotations

import pytest
import torch

from rewrite.background import background
from rewrite.composition.changes import change_of, whole
from rewrite.composition.meeting import meetings, shared_world
from rewrite.composition.members import members
from rewrite.composition.overlap import cosine, crowd, overlap, sides
from rewrite.memory import Change, expected_energy


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def low_rank(rank, seed, outs=12, taps=3, ins=40):
    return Change(drawn(outs, rank, taps, taps, seed=seed), drawn(rank, ins, seed=seed + 1000))


def test_sides_span_what_the_change_reads_and_writes():
    change = low_rank(3, 0)
    doubled = Change(torch.cat([change.response, change.response], 1), torch.cat([change.context, change.context]))
    for one in (change, doubled, whole(change.dense())):
        found = sides(one)
        assert found.keys.shape == (40, 3)
        assert found.values.shape == (12 * 9, 3)
        unfolded = change.dense().permute(0, 2, 3, 1).flatten(0, 2)
        torch.testing.assert_close(found.values @ (found.values.T @ unfolded @ found.keys) @ found.keys.T, unfolded)


def test_a_change_shares_all_with_itself_and_chance_with_a_stranger():
    one = sides(low_rank(4, 0))
    assert overlap(one, one).key == pytest.approx(1)
    assert overlap(one, one).value == pytest.approx(1)
    strangers = [overlap(one, sides(low_rank(4, seed))) for seed in range(1, 60)]
    for side in ("key", "value"):
        mean = sum(getattr(found, side) for found in strangers) / len(strangers)
        assert mean == pytest.approx(getattr(strangers[0], f"{side}_chance"), rel=0.15)


def test_the_cosine_is_that_of_responses(case):
    generator, layer = case.generator, case.generator.layer(case.upper)
    moments = background(generator, layer, samples=32).moments
    base = generator.module.state_dict()[layer.weight]
    one, other = (change_of(layer, base, [(edit, 1.0)]) for edit in case.above[:2])
    energies = [expected_energy(layer, moments, change.dense()) for change in (one, other)]
    both = expected_energy(layer, moments, one.dense() + other.dense())
    expected = (both - sum(energies)) / 2 / (energies[0] * energies[1]) ** 0.5
    assert cosine(layer, moments, one, other) == pytest.approx(expected, rel=1e-6)
    assert cosine(layer, moments, whole(one.dense()), whole(other.dense())) == pytest.approx(expected, rel=1e-6)
    assert cosine(layer, moments, one, one) == pytest.approx(1)
    assert cosine(layer, moments, one, one.scaled(-2)) == pytest.approx(-1)


def test_a_crowd_counts_shared_keys(case):
    generator = case.generator
    found = members(generator, [(edit, 1.0) for edit in case.above])
    (meeting,) = meetings(generator, found, dict(generator.module.state_dict()))
    evidence = [promise.evidence for promise in meeting.promises(generator)]
    covariance = shared_world(generator, meeting.layer, meeting.recipes).moments.at((0, 0))
    alone, apart, twice = (
        crowd(some, covariance, meeting.eps) for some in (evidence[:1], evidence, [evidence[0], evidence[0]])
    )
    assert alone.conditioning == pytest.approx(1)
    assert twice.conditioning > 1e9
    assert 1 < apart.conditioning < 100
    assert twice.capacity == pytest.approx(alone.capacity)
    assert alone.capacity < apart.capacity <= 1
    for i, row in enumerate(apart.shared):
        assert row[i] == pytest.approx(1)
        assert all(0 <= value <= 1 + 1e-9 for value in row)
