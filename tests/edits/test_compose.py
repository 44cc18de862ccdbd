import copy
import dataclasses
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edits import Add, Dense, EditError, Elements, Set, Stack, applied, compose, describe
from edits.file import pack


def written(edit):
    return b"".join(bytes(chunk) for chunk in pack(edit))


@given(seed=st.integers(0, 500), count=st.integers(1, 5), factor=st.sampled_from([1.0, 0.3, -2.0]))
@settings(max_examples=25, deadline=None)
def test_composed_is_stacked_to_the_bit(make, seed, count, factor):
    net, source = make.Net(seed), random.Random(seed)
    kinds = None if factor == 1.0 else ("low-rank", "dense", "slices")
    parts = [
        (make.edit(net, seed + i, kinds=kinds), 1.0 if kinds is None else source.uniform(-2, 2)) for i in range(count)
    ]
    together, apart = copy.deepcopy(net), copy.deepcopy(net)
    Stack(together).push(compose(parts), factor)
    stack = Stack(apart)
    for edit, strength in reversed(parts):
        stack.push(edit, strength * factor)
    assert make.bits(together) == make.bits(apart)


@pytest.mark.parametrize("seed", range(20))
def test_compose_of_one_edit_at_1_is_that_edit(make, seed):
    edit = make.edit(make.Net(), seed)
    one, other = make.Net(), make.Net()
    Stack(one).push(edit, 1.0)
    Stack(other).push(compose([(edit, 1.0)]), 1.0)
    assert make.bits(one) == make.bits(other)


@given(order=st.permutations(range(4)))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_list_does_not_matter(make, order):
    net = make.Net()
    parts = [(make.edit(net, i), 1.0) for i in range(4)]
    assert written(compose([parts[i] for i in order])) == written(compose(parts))


def test_a_composed_member_is_taken_apart_and_coefficients_multiply(make, net):
    kinds = ("dense",)
    a, b, c = (make.edit(net, i, kinds=kinds) for i in range(3))
    nested = compose([(compose([(a, 0.5), (b, 2.0)]), 3.0), (c, 1.0)])
    assert written(nested) == written(compose([(c, 1.0), (b, 6.0), (a, 1.5)]))
    assert all(not member.members for member, _ in nested.members)


def test_a_part_taken_away_leaves_the_rest_to_the_bit(make, net):
    a, b = make.edit(net, 1), make.edit(net, 2)
    other = make.Net()
    stack = Stack(net)
    stack.push(compose([(a, 1.0)]), 1.0)
    stack.push(b, 1.0)
    stack.remove(b)
    with applied(other, (a, 1.0)):
        assert make.bits(other) == make.bits(net)


def test_a_content_twice_is_refused(make, net):
    a = make.edit(net, 1)
    for parts in ([(a, 1.0), (a, 1.0)], [(compose([(a, 1.0)]), 1.0), (a, 1.0)]):
        with pytest.raises(EditError, match=r"twice.*sum of its strengths"):
            compose(parts)


def test_nothing_and_strength_0_are_refused(make, net):
    with pytest.raises(EditError, match="nothing to compose"):
        compose([])
    with pytest.raises(EditError, match="coefficient 0"):
        compose([(make.edit(net), 0.0)])


def test_strengths_must_suit_the_operations(make, net):
    scale = make.edit(net, 1, kinds=("scale",))
    with pytest.raises(EditError, match="0 to 1"):
        compose([(scale, 2.0)])
    half = compose([(scale, 0.5)])
    assert half.accepted(2.0) == 2.0
    with pytest.raises(EditError, match="0 to 1"):
        half.accepted(2.5)


def test_sets_that_differ_are_refused(make, net):
    one, two = (
        make.single(net, "linear", Set((6, 5), Elements(torch.tensor([3]), torch.tensor([value]))))
        for value in (1.0, 2.0)
    )
    with pytest.raises(EditError, match="element 3 of linear"):
        compose([(one, 1.0), (two, 1.0)])


def test_bases_that_disagree_are_refused(make, net):
    with pytest.raises(EditError, match="different values of linear"):
        compose([(make.edit(net, 1, ("linear",)), 1.0), (make.edit(make.Net(5), 2, ("linear",)), 1.0)])
    small = {"linear": torch.ones(2)}
    shaped = dataclasses.replace(
        make.edit(net, 1, ("linear",)),
        operations={"linear": (Add((2,), Dense(torch.ones(2))),)},
        base=describe(small, ["linear"]),
    )
    with pytest.raises(EditError, match=r"shapes .*\(2,\)"):
        compose([(make.edit(net, 1, ("linear",)), 1.0), (shaped, 1.0)])
    other = dataclasses.replace(make.edit(net, 3, ("bias",)), base=describe(net, ["bias"], architecture="other"))
    with pytest.raises(EditError, match="different architectures"):
        compose([(make.edit(net, 1), 1.0), (other, 1.0)])


def test_members_of_different_upstream_keep_their_own(make, net):
    one, two = (
        make.edit(net, 1, ("linear",), upstream=["bias"]),
        make.edit(net, 2, ("conv",), upstream=["linear"]),
    )
    composed = compose([(one, 1.0), (two, 1.0)])
    assert composed.base.upstream is None
    assert {m.base.upstream.names for m, _ in composed.members} == {("bias",), ("linear",)}
    assert composed.touched == ("conv", "linear")
