"""The correction of one layer against slow and obvious versions of what it minimises."""

from __future__ import annotations

import pytest
import torch

import edits
from rewrite.composition import joint
from rewrite.composition.changes import change_of, side_by_side
from rewrite.composition.meeting import meetings, shared_world
from rewrite.composition.members import members
from rewrite.composition.promise import written
from rewrite.memory import Change, canonical, expected_energy, gain


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def met(case):
    """The two rules of a layer, with their promises and world, as `correct` is given them."""
    generator = case.generator
    found = members(generator, [(case.above[0], 1.0), (case.above[1], 0.7)])
    base = dict(generator.module.state_dict())
    (meeting,) = meetings(generator, found, base)
    return meeting, meeting.promises(generator), shared_world(generator, meeting.layer, meeting.recipes)


@pytest.mark.parametrize("positions", [3, 40])
def test_the_ridge_is_the_stacked_problem_in_primal_and_dual(positions):
    rows, wanted, spread = drawn(positions, 8), drawn(positions, 5, seed=1), drawn(20, 8, seed=2)
    solve = joint.ridge(rows, wanted, spread.T @ spread)
    for price in (0.1, 3.0):
        stacked = torch.linalg.lstsq(
            torch.cat([rows, price**0.5 * spread]), torch.cat([wanted, torch.zeros(20, 5, dtype=torch.float64)])
        ).solution
        torch.testing.assert_close(solve(price), stacked, rtol=1e-6, atol=1e-8)


def test_a_promise_is_what_the_edit_alone_does_on_the_module(case, met):
    meeting, promises, _ = met
    layer, generator = meeting.layer, case.generator
    for promise in promises:
        with edits.applied(generator.module, (promise.member.edit, promise.member.strength)):
            edited = canonical(layer, generator.module.state_dict()[layer.weight])
        evidence = promise.evidence
        after = torch.einsum("pti,oit->po", evidence.patches, edited.flatten(2))
        if layer.gain:
            gains = [gain(layer, weight, evidence.style) for weight in (edited, meeting.weight)]
            after = after * (gains[0] / gains[1])[evidence.example]
        torch.testing.assert_close(evidence.value + promise.written, after, rtol=1e-4, atol=1e-6)


def test_no_step_from_the_correction_lowers_what_it_minimises(case, met, monkeypatch):
    """Where there is no gain the objective is a quadratic, and its least point is found."""
    meeting, promises, world = met
    if meeting.layer.gain:
        pytest.skip("with gains the solve holds them, and the true layer decides afterwards")
    monkeypatch.setattr(joint, "PRICES", (0.3,))
    monkeypatch.setattr(joint, "ENERGY", 1 - 1e-14)
    found = joint.correct(meeting.layer, meeting.weight, world, promises, None, meeting.eps)
    whole = side_by_side([promise.change for promise in promises])
    scale = sum(expected_energy(meeting.layer, world.moments, promise.change.dense()) for promise in promises)

    def objective(change: Change) -> float:
        losses = joint.losses(meeting.layer, meeting.weight, promises, side_by_side([whole, change]))
        elsewhere = expected_energy(meeting.layer, world.moments, change.dense())
        return sum(loss**2 for loss in losses) + 0.3 * elsewhere / scale

    best = objective(found.change)
    assert best < objective(found.change.scaled(0))
    for seed in range(6):
        nudge = drawn(*found.change.response.shape, seed=seed) * found.change.response.abs().mean() * 0.03
        for sign in (1, -1):
            assert objective(Change(found.change.response + sign * nudge, found.change.context)) > best


def test_of_the_prices_the_dearest_that_keeps_every_promise_is_taken(case, met, monkeypatch):
    meeting, promises, world = met
    figures = {}
    for price in joint.PRICES:
        monkeypatch.setattr(joint, "PRICES", (price,))
        monkeypatch.setattr(joint, "KEPT", 0.0)
        found = joint.correct(meeting.layer, meeting.weight, world, promises, None, meeting.eps)
        whole = side_by_side([*(promise.change for promise in promises), found.change])
        figures[price] = max(joint.losses(meeting.layer, meeting.weight, promises, whole))
    monkeypatch.undo()

    def taken(kept):
        monkeypatch.setattr(joint, "KEPT", kept)
        return joint.correct(meeting.layer, meeting.weight, world, promises, None, meeting.eps).price

    dearest, middle, cheapest = figures
    assert figures[dearest] > figures[middle] > figures[cheapest]
    assert taken(figures[dearest] * 1.01) == dearest
    assert taken(figures[middle] * 1.01) == middle


def test_where_promises_cannot_be_kept_the_sum_s_effect_elsewhere_is_the_limit():
    tried = [joint._Tried(price, None, kept, elsewhere) for price, kept, elsewhere in [
        (1.0, [0.4, 0.1], 0.8), (0.3, [0.3, 0.1], 0.9), (0.1, [0.1, 0.1], 1.1),
    ]]  # fmt: skip
    assert [joint._best(tried, most).price for most in (2.0, 1.0, 0.85, 0.1)] == [0.1, 0.3, 1.0, 1.0]
    # Where gains answer, a cheaper correction may keep less.
    assert joint._best([*tried[:2], joint._Tried(0.1, None, [0.5, 0.1], 0.9)], 1.0).price == 0.3
    assert joint._best([joint._Tried(1.0, None, [joint.KEPT, 0.0], 9.0), *tried], 0.1).elsewhere == 9.0


def test_where_keys_are_many_the_correction_reads_the_rules_own(case, met, monkeypatch):
    meeting, promises, world = met
    taps = meeting.layer.kernel[0] * meeting.layer.kernel[1]
    monkeypatch.setattr(joint, "WIDEST", 8 * taps)
    found = joint.correct(meeting.layer, meeting.weight, world, promises, None, meeting.eps)
    assert found.change.rank <= 8
    whole = side_by_side([promise.change for promise in promises])
    before = joint.losses(meeting.layer, meeting.weight, promises, whole)
    after = joint.losses(meeting.layer, meeting.weight, promises, side_by_side([whole, found.change]))
    assert sum(loss**2 for loss in after) < sum(loss**2 for loss in before)


def test_rules_that_do_not_meet_are_not_corrected(case, met):
    """One rule's keys put out of the other's reach: nothing is owed, and nothing is added."""
    meeting, promises, world = met
    assert joint.correct(meeting.layer, meeting.weight, world, promises[:1], None, meeting.eps) is None


def test_changes_of_every_form_are_what_they_do_to_the_weight(case):
    generator, layer = case.generator, case.generator.layer(case.upper)
    base = generator.module.state_dict()[layer.weight].clone()
    order = [layer.in_axis, layer.out_axis, *layer.kernel_axes]
    sizes = [base.shape[axis] for axis in order]
    lora = edits.LowRank(
        drawn(sizes[1], 3).float(), drawn(3, sizes[0] * sizes[2] * sizes[3], seed=1).float(),
        (layer.out_axis,), (layer.in_axis, *layer.kernel_axes),
    )  # fmt: skip
    shuffled = edits.LowRank(
        drawn(sizes[1] * sizes[2] * sizes[3], 2).float(), drawn(2, sizes[0], seed=1).float(),
        (layer.kernel_axes[1], layer.out_axis, layer.kernel_axes[0]), (layer.in_axis,),
    )  # fmt: skip
    dense = edits.Dense(drawn(*base.shape, seed=2).float())
    scale = edits.Scale(tuple(base.shape), layer.out_axis, torch.tensor([1, 4]), torch.tensor([0.5, 2.0]))
    description = edits.describe(generator.module, [layer.weight], architecture=generator.architecture)
    made = [
        edits.Edit({layer.weight: (operation,)}, description)
        for operation in (*(edits.Add(tuple(base.shape), form) for form in (lora, shuffled, dense)), scale)
    ]
    for parts in (
        [(made[0], 0.5)],
        [(made[1], -1.0)],
        [(made[2], 2.0), (made[1], 0.5)],
        [(made[0], 0.7), (made[3], 0.5)],
    ):
        with edits.applied(generator.module, *parts):
            edited = canonical(layer, generator.module.state_dict()[layer.weight])
        found = change_of(layer, base, parts).dense()
        torch.testing.assert_close(canonical(layer, base) + found, edited, rtol=1e-4, atol=1e-5)
    assert change_of(generator.layer(case.lower), base, [(made[0], 1.0)]) is None


def test_nothing_writes_nothing(met):
    meeting, promises, _ = met
    assert not written(meeting.layer, meeting.weight, promises[0].evidence, None).any()
