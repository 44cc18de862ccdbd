"""Two edits are as far apart as what they do to the weights."""

from __future__ import annotations

import pytest
import torch

import edits
from edits.identity import describe
from rewrite.library.likeness import apart, moved, restored, sketch, stored

SHAPE = (24, 16)
WEIGHTS = {"weight": torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))}


def added(left: torch.Tensor, right: torch.Tensor, strength: float = 1.0) -> edits.Edit:
    return edits.Edit(
        {"weight": (edits.Add(SHAPE, edits.LowRank(left, right, (0,), (1,))),)},
        describe(WEIGHTS, ["weight"]),
        strength=strength,
    )


@pytest.fixture
def factors():
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(SHAPE[0], 3, generator=drawn), torch.randn(3, SHAPE[1], generator=drawn)


def test_how_it_is_written_down_makes_no_difference(factors) -> None:
    left, right = factors
    turn = torch.tensor([[0.0, 2.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 4.0]])
    one, other = added(left, right), added(left @ turn, torch.linalg.inv(turn) @ right)
    assert one.content != other.content
    assert apart(moved(one, WEIGHTS), moved(other, WEIGHTS)) < 1e-6


def test_it_is_the_share_of_the_change_that_differs(factors) -> None:
    left, right = factors
    whole = moved(added(left, right), WEIGHTS)
    assert apart(whole, whole) == 0
    assert apart(moved(added(left, right, 1.25), WEIGHTS), whole) == pytest.approx(0.25)
    assert apart(whole, {"other": whole["weight"]}) == float("inf")
    assert apart(whole, {}) == float("inf")
    dense = {"weight": left.double() @ right.double()}
    assert apart(whole, dense) < 1e-7


def test_a_sketch_tells_how_far_apart(factors) -> None:
    left, right = factors
    whole = moved(added(left, right), WEIGHTS)
    near = moved(added(left * (1 + 1e-4 * torch.randn(left.shape)), right), WEIGHTS)
    exact, told = apart(near, whole), apart(sketch(near), sketch(whole))
    assert told == pytest.approx(exact, rel=0.6)
    assert apart(sketch(whole), restored(stored(sketch(whole)))) < 1e-8


def test_a_sketch_is_linear_and_keeps_the_norm() -> None:
    drawn = torch.Generator().manual_seed(2)
    one, other = ({"a": torch.randn(5000, generator=drawn, dtype=torch.float64)} for _ in range(2))
    both = {"a": one["a"] + 2 * other["a"]}
    assert torch.allclose(sketch(both)["a"], sketch(one)["a"] + 2 * sketch(other)["a"])
    assert float(sketch(one)["a"].square().sum()) == pytest.approx(5000, rel=0.4)
