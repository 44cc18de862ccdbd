import copy
import itertools
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import edits.stack
from edits import (
    Add,
    Dense,
    EditError,
    EditWarning,
    Elements,
    LowRank,
    Scale,
    Set,
    Slices,
    Stack,
    applied,
    clash,
    compose,
)
from edits.materialise import Change

NAMES = ("linear", "conv", "modulated", "bias", "gain")


def strength_for(edit, source):
    for strength in (
        source.choice([-1.5, 0.0, 0.25, 0.7, 1.0, 3.0]),
        source.choice([0.25, 0.5]),
        source.choice([0.0, 1.0]),
    ):
        try:
            return edit.accepted(strength)
        except EditError:
            continue
    raise AssertionError("some strength must do")


def pool(make, net, count=7):
    made = [make.edit(net, seed, NAMES[seed % 5 :] or NAMES) for seed in range(count)]
    made.append(compose([(make.edit(net, 100), 1.0), (make.edit(net, 101, ("bias", "linear")), 1.0)]))
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@given(order=st.permutations(range(8)), seed=st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_the_order_of_pushes_does_not_matter_to_the_bit(make, dtype, order, seed):
    base = make.Net(seed).to(dtype)
    edits_there, source = pool(make, base), random.Random(seed)
    strengths = [strength_for(edit, source) for edit in edits_there]
    results = []
    for sequence in (range(8), order):
        net = copy.deepcopy(base)
        stack = Stack(net)
        for i in sequence:
            stack.push(edits_there[i], strengths[i])
        results.append(make.bits(net))
    assert results[0] == results[1]


def walk(make, seed, steps, dtype=torch.float32):
    """Random operations; at each end the module must be what a fresh stack makes of the contents."""
    net = make.Net(seed).to(dtype)
    before, held = make.bits(net), dict(net.named_parameters())
    everything, source, stack = pool(make, net), random.Random(seed), Stack(net)
    for _ in range(steps):
        there = [edit for edit, _ in stack.contents]
        absent = [edit for edit in everything if edit not in there]
        verb = source.choice(["push", "strength", "remove"])
        if verb == "push" and absent:
            edit = source.choice(absent)
            stack.push(edit, strength_for(edit, source))
        elif verb == "strength" and there:
            edit = source.choice(there)
            stack.set_strength(edit, strength_for(edit, source))
        elif verb == "remove" and there:
            stack.remove(source.choice(there).content)
    fresh = make.Net(seed).to(dtype)
    again = Stack(fresh)
    for edit, strength in stack.contents:
        again.push(edit, strength)
    assert make.bits(fresh) == make.bits(net)
    for edit, _ in stack.contents:
        stack.remove(edit)
    assert make.bits(net) == before
    assert all(held[name] is p for name, p in net.named_parameters())


@given(seed=st.integers(0, 1000), steps=st.integers(1, 25))
@settings(max_examples=25, deadline=None)
def test_any_interleaving_then_removal_of_all_is_the_base(make, seed, steps):
    walk(make, seed, steps)


def test_a_thousand_operations_then_removal_of_all_is_the_base(make):
    walk(make, 7, 1000, torch.float16)


def test_removal_is_exact_for_weights_that_arithmetic_would_change(make):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([-0.0, 1e-45, 3.4e38, -1.0]))

    net = Odd()
    before = make.bits(net)
    stack = Stack(net)
    edit = make.single(net, "w", Add((4,), Dense(torch.tensor([1.0, 1.0, 0.0, 1e-3]))))
    stack.push(edit)
    assert make.bits(net) != before
    stack.remove(edit)
    assert make.bits(net) == before


def test_two_adds_at_their_strengths_are_the_sum(make, net):
    one, two = (make.edit(net, seed, ("linear",), kinds=("low-rank",), count=1) for seed in (1, 2))
    expected = net.linear.detach().double()
    for edit, strength in ((one, 0.5), (two, -2.0)):
        add = edit.operations["linear"][0]
        alone = nn.Module()
        alone.register_parameter("linear", nn.Parameter(torch.zeros(6, 5)))
        dense = add.form.left.double() @ add.form.right.double()
        axes = add.form.left_axes + add.form.right_axes
        expected = expected + strength * dense.reshape([(6, 5)[a] for a in axes]).permute(
            [axes.index(a) for a in range(2)]
        )
    stack = Stack(net)
    stack.push(two, -2.0)
    stack.push(one, 0.5)
    assert torch.allclose(net.linear.double(), expected, atol=1e-6)


def test_default_strength_is_used(make, net):
    edit = make.single(net, "bias", Add((7,), Dense(torch.ones(7))), strength=0.25)
    before = net.bias.detach().clone()
    stack = Stack(net)
    stack.push(edit)
    assert stack.contents == ((edit, 0.25),)
    assert torch.allclose(net.bias, before + 0.25)


def test_strength_0_is_absence_and_the_edit_stays_listed(make, net):
    before, stack = make.bits(net), Stack(net)
    edit = make.single(net, "bias", Add((7,), Dense(torch.ones(7))))
    stack.push(edit, 0.0)
    assert make.bits(net) == before
    assert stack.contents == ((edit, 0.0),)
    stack.set_strength(edit, 1.0)
    assert make.bits(net) != before
    stack.set_strength(edit, 0)
    assert make.bits(net) == before
    assert stack.contents == ((edit, 0.0),)


def test_only_touched_tensors_are_copied_and_parameters_stay_what_they_are(make, net):
    net.conv.requires_grad_(False)
    addresses = {name: (id(p), p.data_ptr(), p.requires_grad) for name, p in net.named_parameters()}
    stack = Stack(net)
    stack.push(make.edit(net, 1, ("linear", "conv")), 1.0)
    assert set(stack._state.base) == {"linear", "conv"}
    assert addresses == {name: (id(p), p.data_ptr(), p.requires_grad) for name, p in net.named_parameters()}
    stack.clear()
    assert not stack._state.base
    assert not stack.contents


def test_the_same_content_twice_is_refused(make, net):
    edit = make.edit(net, 1)
    twin = make.edit(net, 1, notes={"other": "facts"})
    stack = Stack(net)
    stack.push(edit, 1.0)
    for other in (edit, twin, compose([(twin, 1.0)])):
        with pytest.raises(EditError, match="already"):
            stack.push(other, 1.0)
    stack.remove(edit)
    stack.push(compose([(twin, 1.0)]), 1.0)
    with pytest.raises(EditError, match="already"):
        stack.push(edit, 1.0)
    with pytest.raises(EditError, match="only as a member"):
        stack.remove(edit)


@pytest.mark.parametrize("verb", ["remove", "set_strength"])
def test_an_edit_that_is_not_there_is_told(make, net, verb):
    with pytest.raises(EditError, match="not on the stack"):
        getattr(Stack(net), verb)(*[make.edit(net, 1), 1.0][: 1 + (verb == "set_strength")])


def sets(make, net, *pairs):
    made = []
    for at, value in pairs:
        made.append(make.single(net, "linear", Set((6, 5), Elements(torch.tensor([at]), torch.tensor([value])))))
    return made


def test_two_sets_of_an_element_to_different_values_are_refused_at_the_push(make, net):
    one, same, other, elsewhere = sets(make, net, (7, 1.0), (7, 1.0), (7, 2.0), (8, 2.0))
    row = make.single(net, "linear", Set((6, 5), Slices(0, torch.tensor([1]), torch.full((1, 5), 1.0))))
    column = make.single(net, "linear", Set((6, 5), Slices(1, torch.tensor([2]), torch.full((6, 1), 3.0))))
    stack = Stack(net)
    stack.push(one)
    stack.push(elsewhere, 0.0)
    stack.push(row)
    before = make.bits(net)
    for clashing in (other, column):
        with pytest.raises(EditError, match="element 7 of linear to different values"):
            stack.push(clashing)
        assert make.bits(net) == before
        assert len(stack.contents) == 3
    with pytest.raises(EditError, match="element 8"):
        stack.set_strength(elsewhere, 1)
    stack.push(other, 0.0)
    with pytest.raises(EditError, match="element 7"):
        stack.set_strength(other, 1.0)
    assert make.bits(net) == before
    assert same.content == one.content


def projective(make, net, side, vector, other=None):
    vector = torch.tensor(vector)
    other = torch.ones(5 if side == "left" else 6) if other is None else torch.tensor(other)
    form = (
        LowRank(vector[:, None], other[None], (0,), (1,))
        if side == "left"
        else LowRank(other[:, None], vector[None], (0,), (1,))
    )
    return make.single(net, "linear", Add((6, 5), form, side))


def test_projective_adds_go_together_only_if_orthogonal(make, net):
    along, across = (
        projective(make, net, "right", [1.0, 0, 0, 0, 0]),
        projective(make, net, "right", [0.0, 1, 0, 0, 0]),
    )
    slanted, mirrored = (projective(make, net, "right", [1.0, sign, 0, 0, 0]) for sign in (1, -1))
    stack = Stack(net)
    stack.push(along)
    stack.push(across)
    before = make.bits(net)
    with pytest.raises(EditError, match="both project linear"):
        stack.push(slanted)
    assert make.bits(net) == before
    stack.clear()
    stack.push(slanted)
    stack.push(mirrored)


def test_projective_adds_of_different_sides_must_be_orthogonal_on_both(make, net):
    right = projective(make, net, "right", [1.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0])
    apart = projective(make, net, "left", [0.0, 1, 0, 0, 0, 0], [0.0, 1, 0, 0, 0])
    half = projective(make, net, "left", [0.0, 1, 0, 0, 0, 0], [1.0, 1, 0, 0, 0])
    compose([(right, 1.0), (apart, 1.0)])
    with pytest.raises(EditError, match="on the right side"):
        compose([(right, 1.0), (half, 1.0)])


def test_projective_adds_that_split_axes_differently_are_refused(make, net):
    generator = torch.Generator().manual_seed(1)
    one = make.single(net, "conv", make.low_rank((4, 3, 3, 2), (0,), (1, 2, 3), 1, generator, "right"))
    two = make.single(net, "conv", make.low_rank((4, 3, 3, 2), (0, 2, 3), (1,), 1, generator, "right"))
    with pytest.raises(EditError, match="split its axes differently"):
        compose([(one, 1.0), (two, 1.0)])


def test_orthogonality_is_seen_through_the_order_of_axes(make, net):
    first = torch.zeros(3, 3, 2)
    second = torch.zeros(3, 3, 2)
    first[0, 1, 0], second[1, 0, 0] = 1.0, 1.0
    left = torch.ones(4, 1)
    one = make.single(net, "conv", Add((4, 3, 3, 2), LowRank(left, first.reshape(1, -1), (0,), (1, 2, 3)), "right"))
    swapped = first.transpose(0, 1).reshape(1, -1).contiguous()
    same = make.single(net, "conv", Add((4, 3, 3, 2), LowRank(2 * left, swapped, (0,), (2, 1, 3)), "right"))
    apart = make.single(net, "conv", Add((4, 3, 3, 2), LowRank(left, second.reshape(1, -1), (0,), (1, 2, 3)), "right"))
    compose([(one, 1.0), (apart, 1.0)])
    with pytest.raises(EditError, match="cosine"):
        compose([(one, 1.0), (same, 1.0)])


def test_ordinary_adds_are_never_held_to_be_orthogonal(make, net):
    ordinary = [make.edit(net, seed, ("linear",), kinds=("low-rank",)) for seed in (1, 2)]
    compose([(edit, 1.0) for edit in ordinary] + [(projective(make, net, "left", [1.0, 0, 0, 0, 0, 0]), 1.0)])


@pytest.mark.parametrize("verb", ["push", "set_strength", "remove", "clear"])
def test_a_change_behind_the_stacks_back_is_noticed(make, net, verb):
    base = make.bits(net)
    first, second = make.edit(net, 1, ("linear", "conv")), make.edit(net, 2, ("bias",))
    stack = Stack(net)
    stack.push(first, 1.0)
    with torch.no_grad():
        net.conv.view(-1)[0] += 1e-6
    changed = make.bits(net)
    arguments = {"push": (second, 1.0), "set_strength": (first, 0.0), "remove": (first,), "clear": ()}[verb]
    with pytest.raises(EditError, match="conv changed behind the stack's back"):
        getattr(stack, verb)(*arguments)
    assert make.bits(net) == changed
    assert stack.contents == ((first, 1.0),)
    stack.clear(force=True)
    assert make.bits(net) == base
    assert not stack.contents


def test_a_change_of_type_behind_the_stacks_back_is_noticed_and_undone(make, net):
    base = make.bits(net)
    stack = Stack(net)
    stack.push(make.edit(net, 1, ("linear",)), 1.0)
    net.half()
    with pytest.raises(EditError, match="behind"):
        stack.clear()
    stack.clear(force=True)
    assert make.bits(net)["linear"] == base["linear"]


def through_data(net):
    net.conv.data.view(-1)[0] = 9.0


def through_numpy(net):
    net.conv.detach().numpy().reshape(-1)[0] = 9.0


def sign_of_zero(net):
    net.conv.data.view(-1)[0] *= -1


def to_nan(net):
    net.conv.data.view(-1)[0] = math.nan


def another_parameter(net):
    net.conv = nn.Parameter(net.conv.detach() + 1)


def a_checkpoint(net):
    net.load_state_dict(type(net)(1).state_dict())


def other_shape(net):
    net.conv.data = net.conv.data[:2].clone()


def to_meta(net):
    net.to("meta")


def to_sparse(net):
    net.conv = nn.Parameter(net.conv.detach().to_sparse())


def parametrised(net):
    torch.nn.utils.parametrize.register_parametrization(net, "conv", nn.Identity())


@pytest.mark.parametrize(
    "attack",
    [
        through_data, through_numpy, sign_of_zero, to_nan, another_parameter, a_checkpoint, other_shape, to_meta,
        to_sparse, parametrised,
    ],
)  # fmt: skip
def test_every_way_round_the_stack_is_noticed(make, net, attack):
    with torch.no_grad():
        net.conv.view(-1)[0] = 0.0
    untouched = make.single(net, "conv", Scale((4, 3, 3, 2), 0, torch.tensor([2]), torch.tensor([0.5])))
    stack = Stack(net)
    stack.push(untouched)
    attack(net)
    assert "conv" in stack.disturbed()
    with pytest.raises(EditError, match="behind the stack's back"):
        stack.remove(untouched)
    assert stack.contents == ((untouched, 1.0),)


def test_the_same_values_in_another_parameter_are_no_disturbance(make, net):
    base, edit = make.bits(net), make.edit(net, 1, ("conv",))
    stack = Stack(net)
    stack.push(edit, 1.0)
    net.conv = nn.Parameter(net.conv.detach().clone())
    stack.remove(edit)
    assert make.bits(net) == base


@pytest.mark.parametrize("attack", [to_meta, to_sparse])
def test_what_cannot_be_written_to_is_told_when_everything_is_put_back(make, net, attack):
    stack = Stack(net)
    stack.push(make.edit(net, 1, ("conv",)), 1.0)
    attack(net)
    with pytest.raises(EditError, match="conv are no longer in the module, or hold no plain numbers"):
        stack.clear(force=True)


class Copies(nn.Module):
    """A module whose state dict holds copies, as that of a sharded or offloaded model may."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self._register_state_dict_hook(lambda _m, state, _p, _l: {k: v.detach().clone() for k, v in state.items()})


def test_a_module_that_hands_out_copies_is_refused_and_not_silently_left_alone(make, net):
    copies = Copies(net)
    before = make.bits(net)
    with pytest.raises(EditError, match=r"gives net\.linear as a copy"):
        Stack(copies).push(make.edit(copies, 1, ("net.linear",)), 1.0)
    assert make.bits(net) == before


def test_an_edit_whose_tensors_were_written_to_is_refused(make, net, tmp_path):
    edit = make.edit(net, 1, ("linear",), kinds=("dense",))
    assert edit.content
    edit.save(tmp_path / "edit")
    before, kept = make.bits(net), (tmp_path / "edit").read_bytes()
    next(iter(edit.tensors().values())).zero_()
    with pytest.raises(EditError, match="were written to"):
        Stack(net).push(edit, 1.0)
    with pytest.raises(EditError, match="were written to"):
        compose([(edit, 1.0)]).save(tmp_path / "edit")
    assert make.bits(net) == before
    assert (tmp_path / "edit").read_bytes() == kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_many_at_once_are_as_one_by_one_to_the_bit(make, dtype):
    results = []
    for together in (True, False):
        net = make.Net().to(dtype)
        pairs = [(edit, strength_for(edit, random.Random(i))) for i, edit in enumerate(pool(make, net))]
        stack = Stack(net)
        if together:
            stack.extend(pairs)
        else:
            for edit, strength in pairs:
                stack.push(edit, strength)
        results.append((make.bits(net), stack.contents == tuple(pairs)))
    assert results[0] == results[1]
    assert results[0][1]


def test_many_at_once_are_all_or_none(make, net):
    before, good = make.bits(net), make.edit(net, 1, ("linear",))
    twin, stranger = make.edit(net, 1, ("linear",), notes={"a": 1}), make.edit(make.Net(5), 2, ("bias",))
    stack = Stack(net)
    for bad, words in ((twin, "already"), (stranger, "are not the weights")):
        with pytest.raises(EditError, match=words):
            stack.extend([(good, 1.0), (bad, 1.0)])
        assert make.bits(net) == before
        assert not stack.contents


def test_a_parameter_that_is_gone_is_told_and_the_rest_restored(make, net):
    base = make.bits(net)
    stack = Stack(net)
    stack.push(make.edit(net, 1, ("linear", "conv")), 1.0)
    del net.linear
    assert stack.disturbed() == ("linear",)
    with pytest.raises(EditError, match="linear are no longer"):
        stack.clear(force=True)
    assert make.bits(net)["conv"] == base["conv"]


def test_an_untouched_tensor_may_change(make, net):
    stack = Stack(net)
    edit = make.edit(net, 1, ("linear",))
    stack.push(edit, 1.0)
    with torch.no_grad():
        net.bias.add_(1)
    kept = net.bias.detach().clone()
    stack.remove(edit)
    assert torch.equal(net.bias, kept)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("verb", ["push", "set_strength", "remove"])
def test_an_exception_while_writing_rolls_everything_back(make, net, monkeypatch, error, after, verb):
    names = ("linear", "conv", "modulated", "bias")
    first, second = (make.edit(net, seed, names, kinds=("dense", "low-rank")) for seed in (1, 2))
    stack = Stack(net)
    stack.push(first)
    before, contents = make.bits(net), stack.contents
    real, count = edits.stack._put, itertools.count()

    def failing(tensor, value):
        if next(count) == after:
            raise error
        real(tensor, value)

    monkeypatch.setattr(edits.stack, "_put", failing)
    arguments = {"push": (second, 1.0), "set_strength": (first, 0.5), "remove": (first,)}[verb]
    with pytest.raises(error):
        getattr(stack, verb)(*arguments)
    assert make.bits(net) == before
    assert stack.contents == contents
    stack.clear()
    assert make.bits(net) == make.bits(make.Net())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_weights_out_of_range_are_refused_before_anything_is_written(make, dtype):
    net = make.Net().to(dtype)
    edit = make.edit(net, 1, ("linear", "conv"), kinds=("dense",))
    before, stack = make.bits(net), Stack(net)
    with pytest.raises(EditError, match="NaN or infinity"):
        stack.push(edit, 1e5 if dtype == torch.float16 else 1e39)
    assert make.bits(net) == before
    assert not stack.contents
    stack.push(edit, 1.0)
    kept = make.bits(net)
    with pytest.raises(EditError, match="range"):
        stack.set_strength(edit, 1e300)
    assert make.bits(net) == kept


def test_an_edit_that_alters_nothing_is_refused(make, net):
    stack = Stack(net)
    zero = make.single(net, "linear", Add((6, 5), Dense(torch.zeros(6, 5))))
    one = make.single(net, "linear", Scale((6, 5), 0, torch.tensor([1]), torch.ones(1)))
    same = make.single(net, "gain", Set((), Elements(torch.tensor([0]), net.gain.detach().reshape(1))))
    for edit in (zero, one, same, compose([(make.edit(net), 1.0), (zero, 1.0)])):
        with pytest.raises(EditError, match="alters nothing"):
            stack.push(edit, 1.0)


def test_an_edit_swallowed_by_rounding_is_refused(make, net):
    tiny = Add((6, 5), Dense(torch.full((6, 5), 1e-7)))
    Stack(net).push(make.single(net, "linear", tiny))
    coarse = make.Net().to(torch.bfloat16)
    with pytest.raises(EditError, match="alters nothing"):
        Stack(coarse).push(make.single(coarse, "linear", tiny))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.third = nn.Parameter(torch.empty(0))
        self.third.data = self.first.weight.data


def test_edits_that_name_a_tied_tensor_differently_meet(make):
    net = Tied()
    before, start = make.bits(net), net.first.weight.detach().clone()
    names = ("first.weight", "second.weight", "third")
    adds = [make.single(net, name, Add((3, 3), Dense(torch.full((3, 3), 2.0**i)))) for i, name in enumerate(names)]
    stack = Stack(net)
    for edit in adds:
        stack.push(edit)
    assert torch.allclose(net.first.weight, start + 7)
    assert net.second.weight is net.first.weight
    assert torch.equal(net.third, net.first.weight)
    stack.remove(adds[1])
    assert torch.allclose(net.third, start + 5)
    stack.clear()
    assert make.bits(net) == before


def test_sets_of_a_tied_tensor_under_two_names_clash(make):
    net = Tied()
    one, two = (
        make.single(net, name, Set((3, 3), Elements(torch.tensor([4]), torch.tensor([value]))))
        for name, value in (("first.weight", 1.0), ("third", 2.0))
    )
    stack = Stack(net)
    stack.push(one)
    with pytest.raises(EditError, match="element 4"):
        stack.push(two)


def test_a_tie_that_comes_apart_later_is_still_undone_under_every_name(make):
    net = Tied()
    before = make.bits(net)
    stack = Stack(net)
    edit = make.single(net, "third", Add((3, 3), Dense(torch.ones(3, 3))))
    stack.push(edit)
    net.third.data = net.third.data.clone()
    stack.set_strength(edit, 2.0)
    assert torch.equal(net.third, net.first.weight)
    stack.remove(edit)
    assert make.bits(net) == before


def test_partly_shared_and_expanded_tensors_are_refused(make):
    net = nn.Module()
    whole = torch.arange(12.0)
    net.register_buffer("low", whole[:8])
    net.register_buffer("high", whole[4:])
    net.register_buffer("apart", whole[8:])
    net.register_buffer("wide", torch.ones(1).expand(4))
    for name, size in (("high", 8), ("wide", 4)):
        with pytest.raises(EditError, match="memory"):
            Stack(net).push(make.single(net, name, Add((size,), Dense(torch.ones(size)))))


def test_disjoint_views_of_one_storage_are_edited_apart(make):
    net = nn.Module()
    whole = torch.arange(12.0)
    net.register_buffer("low", whole[:6])
    net.register_buffer("high", whole[6:].reshape(3, 2).T)
    Stack(net).push(make.single(net, "high", Add((2, 3), Dense(torch.ones(2, 3)))))
    assert whole.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]


def test_applied_gives_back_the_bits(make, net):
    before = make.bits(net)
    one, two = make.edit(net, 1), make.edit(net, 2, NAMES)
    with applied(net, (one, 1.0), (two, None)) as stack:
        assert make.bits(net) != before
        assert stack.contents == ((one, 1.0), (two, 1.0))
    assert make.bits(net) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_applied_gives_back_the_bits_on_any_exception(make, net, error):
    before = make.bits(net)
    with pytest.raises(error), applied(net, (make.edit(net, 1), 1.0)):
        raise error
    assert make.bits(net) == before


def test_applied_is_all_or_nothing(make, net):
    before, edit = make.bits(net), make.edit(net, 1)
    with pytest.raises(EditError, match="already"), applied(net, (edit, 1.0), (edit, 1.0)):
        pytest.fail("the block must not run")
    assert make.bits(net) == before


def test_applied_restores_weights_changed_inside_and_reports_them(make, net):
    before = make.bits(net)
    with (
        pytest.raises(EditError, match="linear changed inside the block"),
        applied(net, (make.edit(net, 1), 1.0)),
        torch.no_grad(),
    ):
        net.linear.add_(1)
    assert make.bits(net) == before


def test_applied_does_not_hide_an_exception_behind_its_report(make, net):
    before, edit = make.bits(net), make.edit(net, 1)

    def train_and_fail():
        with applied(net, (edit, 1.0)), torch.no_grad():
            net.linear.add_(1)
            raise ValueError("mine")

    with pytest.warns(EditWarning, match="changed inside"), pytest.raises(ValueError, match="mine"):
        train_and_fail()
    assert make.bits(net) == before


def test_edits_work_on_parameters_made_in_inference_mode(make):
    with torch.inference_mode():
        net = make.Net()
    before, edit = make.bits(net), make.edit(net, 1)
    with applied(net, (edit, 1.0)):
        assert make.bits(net) != before
    assert make.bits(net) == before


def test_projective_adds_are_each_decomposed_once(monkeypatch):
    def change(content, vector):
        form = LowRank(torch.ones(512, 1), vector[None], (0,), (1,))
        return Change(f"{content:064d}", "weight", 0, 1.0, Add((512, 512), form, "right"))

    basis = torch.eye(512)
    many = [change(i, basis[i]) for i in range(400)]
    decomposed = []
    monkeypatch.setattr("edits.clash._orthonormal", lambda factor: decomposed.append(1) or factor / factor.norm())
    clash.check({"weight": many})
    assert len(decomposed) == len(many)
    monkeypatch.undo()
    with pytest.raises(EditError, match=r"both project weight and on the right side they meet at a cosine of 0\.71"):
        clash.check({"weight": [*many, change(400, basis[7] + basis[450])]})
