import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edits import Add, Dense, EditError, Elements, LowRank, Scale, Set, Slices
from edits.materialise import Change, materialise, rounded


def change(operation, strength=1.0, content="0" * 64, position=0):
    return Change(content, "w", position, strength, operation)


def slow_low_rank(shape, form):
    """dW element by element, in Python floats."""
    left, right = form.left.double().numpy(), form.right.double().numpy()
    made = np.zeros(shape)
    for place in itertools.product(*(range(size) for size in shape)):
        sides = []
        for axes in (form.left_axes, form.right_axes):
            flat = 0
            for axis in axes:
                flat = flat * shape[axis] + place[axis]
            sides.append(flat)
        made[place] = sum(float(left[sides[0], k]) * float(right[k, sides[1]]) for k in range(left.shape[1]))
    return torch.from_numpy(made)


@pytest.mark.parametrize("shape", [(), (4,), (3, 2), (2, 3, 4), (2, 3, 2, 3)], ids=str)
def test_low_rank_with_every_axis_split_is_the_dense_change(make, shape):
    generator = torch.Generator().manual_seed(len(shape))
    base = torch.randn(shape, generator=generator, dtype=torch.float64)
    for left_axes, right_axes in make.splits(len(shape)):
        add = make.low_rank(shape, left_axes, right_axes, 2, generator)
        oracle = slow_low_rank(shape, add.form)
        assert torch.allclose(materialise(base, [change(add, 0.7)]), base + 0.7 * oracle, atol=1e-12)
        assert add.norm == pytest.approx(float(oracle.norm()), rel=1e-9)


@pytest.mark.parametrize(
    "sides", [((1, 3, 4), (2, 0)), ((0, 1), (2, 3, 4)), ((4, 2), (0, 3, 1)), ((0, 1, 2, 3, 4), ())], ids=str
)
def test_low_rank_in_five_axes(make, sides):
    generator = torch.Generator().manual_seed(5)
    shape = (1, 4, 3, 2, 2)
    add = make.low_rank(shape, *sides, 3, generator)
    base = torch.randn(shape, generator=generator, dtype=torch.float64)
    assert torch.allclose(materialise(base, [change(add, -2.0)]), base - 2 * slow_low_rank(shape, add.form), atol=1e-12)


def test_low_rank_of_a_transposed_view(make):
    generator = torch.Generator().manual_seed(6)
    stored = torch.randn(5, 3, generator=generator, dtype=torch.float64).T
    add = make.low_rank((3, 5), (1,), (0,), 2, generator)
    assert torch.allclose(materialise(stored, [change(add)]), stored + slow_low_rank((3, 5), add.form), atol=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_slices_scales_and_sets_are_what_a_loop_makes(make, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 4, 3)
    base = torch.randn(shape, generator=generator, dtype=torch.float64)
    made = make.operation(shape, generator, ("slices", "scale", "set slices", "set elements"))
    strength = 1.0 if isinstance(made, Set) else 0.3
    expected = base.clone()
    form = made if isinstance(made, Scale) else made.form
    for k, at in enumerate(form.index.tolist()):
        if isinstance(form, Elements):
            expected.view(-1)[at] = float(form.values[k])
            continue
        part = expected.select(form.axis, at)
        if isinstance(made, Scale):
            part.mul_(1 + strength * (float(made.factors[k]) - 1))
        elif isinstance(made, Set):
            part.copy_(form.values.select(form.axis, k))
        else:
            part.add_(strength * form.values.select(form.axis, k).double())
    assert torch.allclose(materialise(base, [change(made, strength)]), expected, atol=1e-14)


def test_adds_then_scales_then_sets():
    base = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    every = torch.arange(3)
    add = Add((3,), Dense(torch.ones(3)))
    scale = Scale((3,), 0, every, torch.full((3,), 10.0))
    put = Set((3,), Elements(torch.tensor([1]), torch.tensor([7.0])))
    for order in itertools.permutations([(put, "0"), (scale, "1"), (add, "2")]):
        made = materialise(base, [change(operation, content=content) for operation, content in order])
        assert made.tolist() == [20.0, 7.0, 40.0]


@pytest.mark.parametrize("seed", range(10))
def test_the_order_in_which_changes_are_given_does_not_matter_to_the_bit(make, seed):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    given_so = [
        change(make.operation((5, 6), generator, ("low-rank", "dense", "slices", "scale")), 0.37, str(i))
        for i in range(8)
    ]
    results = [materialise(base, order) for order in (given_so, given_so[::-1], given_so[3:] + given_so[:3])]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_scale_at_full_strength_gives_the_factor_itself():
    scale = Scale((1,), 0, torch.tensor([0]), torch.tensor([1e-30]))
    assert materialise(torch.ones(1, dtype=torch.float64), [change(scale)]).item() == float(torch.tensor(1e-30))


def test_no_changes_are_the_base_bits():
    base = torch.tensor([-0.0, 1e-45, float("nan")])
    assert materialise(base, []).view(torch.int32).equal(base.view(torch.int32))


@given(st.lists(st.floats(width=64, allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
@settings(deadline=None)
def test_rounding_to_float16_happens_once(values):
    exact = np.array(values)
    with np.errstate(over="ignore", under="ignore"):
        expected = exact.astype(np.float16)
    made = rounded(torch.from_numpy(exact), torch.float16)
    assert torch.equal(made, torch.from_numpy(expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_tie_broken_far_below_float32_still_counts(dtype):
    half_step = torch.finfo(dtype).eps / 2
    values = torch.tensor([1 + half_step, 1 + half_step + 1e-13, 1 + half_step - 1e-13], dtype=torch.float64)
    step = torch.finfo(dtype).eps
    for sign in (1, -1):
        assert (sign * rounded(sign * values, dtype).double()).tolist() == [1.0, 1 + step, 1.0]


def test_operations_own_their_tensors():
    values = torch.ones(3)
    add = Add((3,), Dense(values))
    values.zero_()
    assert add.form.dense.tolist() == [1.0, 1.0, 1.0]


def index(*positions):
    return torch.tensor(positions)


bad = {
    "float64 values": lambda: Dense(torch.ones(2, dtype=torch.float64)),
    "no tensor": lambda: Dense([1.0]),
    "nan": lambda: Dense(torch.tensor([math.nan])),
    "infinity": lambda: LowRank(torch.tensor([[math.inf]]), torch.ones(1, 1), (0,), (1,)),
    "empty": lambda: Dense(torch.ones(0)),
    "meta": lambda: Dense(torch.ones(2, device="meta")),
    "sparse": lambda: Dense(torch.eye(2).to_sparse()),
    "dense shape": lambda: Add((2, 2), Dense(torch.ones(4))),
    "left rows": lambda: Add((2, 3), LowRank(torch.ones(3, 1), torch.ones(1, 3), (0,), (1,))),
    "rank": lambda: Add((2, 3), LowRank(torch.ones(2, 1), torch.ones(2, 3), (0,), (1,))),
    "left of one axis": lambda: Add((2, 3), LowRank(torch.ones(2), torch.ones(1, 3), (0,), (1,))),
    "axis twice": lambda: Add((2, 2), LowRank(torch.ones(2, 1), torch.ones(1, 2), (0,), (0,))),
    "axis missing": lambda: Add((2, 3), LowRank(torch.ones(2, 1), torch.ones(1, 3), (0,), ())),
    "negative axis": lambda: LowRank(torch.ones(2, 1), torch.ones(1, 2), (0,), (-1,)),
    "bool axis": lambda: LowRank(torch.ones(2, 1), torch.ones(1, 2), (False,), (True,)),
    "projective side": lambda: Add((2, 2), LowRank(torch.ones(2, 1), torch.ones(1, 2), (0,), (1,)), "middle"),
    "projective dense": lambda: Add((2,), Dense(torch.ones(2)), "left"),
    "unsorted": lambda: Slices(0, index(1, 0), torch.ones(2)),
    "repeated": lambda: Slices(0, index(1, 1), torch.ones(2)),
    "negative": lambda: Slices(0, index(-1), torch.ones(1)),
    "int32": lambda: Slices(0, torch.tensor([0], dtype=torch.int32), torch.ones(1)),
    "index shape": lambda: Slices(0, torch.tensor([[0]]), torch.ones(1)),
    "beyond": lambda: Add((2,), Slices(0, index(2), torch.ones(1))),
    "slices axis": lambda: Add((2,), Slices(1, index(0), torch.ones(1))),
    "slices shape": lambda: Add((2, 3), Slices(0, index(0), torch.ones(1, 2))),
    "elements beyond": lambda: Set((2, 2), Elements(index(4), torch.ones(1))),
    "elements count": lambda: Set((2, 2), Elements(index(1), torch.ones(2))),
    "factors count": lambda: Scale((3,), 0, index(0, 1), torch.ones(3)),
    "scale axis": lambda: Scale((3,), True, index(0), torch.ones(1)),
    "scalar slices": lambda: Scale((), 0, index(0), torch.ones(1)),
    "empty shape": lambda: Add((0,), Dense(torch.ones(1))),
    "huge shape": lambda: Set((2**40, 2**40), Elements(index(0), torch.ones(1))),
    "many axes": lambda: Add((1,) * 17, Dense(torch.ones((1,) * 17))),
    "text shape": lambda: Add("2", Dense(torch.ones(2))),
    "add elements": lambda: Add((2,), Elements(index(0), torch.ones(1))),
    "set dense": lambda: Set((2,), Dense(torch.ones(2))),
}


@pytest.mark.parametrize("made", bad.values(), ids=bad)
def test_an_operation_that_does_not_fit_is_refused_when_made(made):
    with pytest.raises(EditError):
        made()
