import copy
import warnings

import pytest
import torch
from torch import nn

from edits import EditError, EditWarning, Stack, compare, describe, identity


def cast(net, dtype):
    return copy.deepcopy(net).to(dtype)


def retyped(net, dtype):
    """float32 that holds values rounded to dtype."""
    return cast(net, dtype).float()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stored", [cast, retyped])
def test_casts_of_the_same_weights_are_recognised(net, dtype, stored):
    verdict = compare(describe(net, ["linear", "conv"], ["bias", "steps"]), stored(net, dtype))
    assert dict(verdict.touched) == {"conv": "cast", "linear": "cast"}
    assert verdict.upstream == "cast"
    assert not verdict.different


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_same_weights_are_exact(net, dtype):
    net = net.to(dtype)
    verdict = compare(describe(net, ["linear"], ["bias"]), net)
    assert set(verdict.touched.values()) == {verdict.upstream} == {"exact"}


@pytest.mark.parametrize("scale", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_a_fine_tune_is_different(net, scale, dtype):
    base = describe(net, ["linear"], ["bias"])
    tuned = copy.deepcopy(net)
    with torch.no_grad():
        tuned.linear.mul_(1 + scale * torch.randn(6, 5, generator=torch.Generator().manual_seed(1)))
        tuned.bias.add_(scale)
    if dtype is not None and scale == 1e-3:
        tuned = cast(tuned, dtype)
    verdict = compare(base, tuned)
    assert verdict.different == ("linear",)
    assert verdict.upstream == "different"


def test_a_fine_tune_that_rounds_to_the_same_values_is_no_cast():
    base = describe({"w": torch.tensor([1.0, 2.0])}, ["w"])
    close = torch.tensor([1.0, 2.0 + 2**-20])
    assert torch.equal(close.half(), torch.tensor([1.0, 2.0]).half())
    assert compare(base, {"w": close}).different == ("w",)


def test_the_original_of_a_rounded_base_is_not_taken_for_it(net):
    base = describe(cast(net, torch.bfloat16), ["linear"])
    assert compare(base, net).different == ("linear",)


def test_a_missing_parameter_names_the_nearest_three(net):
    with pytest.raises(EditError, match=r"'linaer'.*nearest: linear, \w+, \w+;"):
        describe(net, ["linaer"])
    with pytest.raises(EditError, match="nearest: linear2"):
        compare(describe(net, ["linear"]), {"linear2": torch.ones(1)})


def test_a_wrong_shape_is_told(net):
    with pytest.raises(EditError, match=r"shape \(5, 6\); expected \(6, 5\)"):
        compare(describe(net, ["linear"]), {"linear": torch.ones(5, 6)})


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(2, dtype=torch.int64), torch.ones(2, device="meta"), torch.eye(2).to_sparse()],
    ids=str,
)
def test_only_float_tensors_with_values_can_be_touched(tensor):
    with pytest.raises(EditError):
        describe({"w": tensor}, ["w"])


def test_upstream_leaves_out_the_touched_and_the_unrecorded(net):
    base = describe(net, ["linear"], ["linear", "noise", "conv"])
    assert base.upstream.names == ("conv", "noise")
    assert describe(net, ["linear"]).upstream is None
    assert compare(describe(net, ["linear"]), net).upstream == "unknown"


def test_upstream_digest_covers_names_and_shapes():
    tensors = {"w": torch.ones(1), "a": torch.ones(2), "b": torch.ones(2), "c": torch.ones(2, 1)}
    digests = {describe(tensors, ["w"], [name]).upstream.digests.float32 for name in "abc"}
    assert len(digests) == 3


class Counted(nn.Module):
    """Buffers that a cast of the model leaves as they are."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.1, 0.7, -3.3]))
        self.register_buffer("batches", torch.tensor(100_001))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("phase", torch.tensor([0.1 + 0.7j]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_a_cast_leaves_alone_does_not_hide_it(dtype):
    net = Counted()
    base = describe(net, ["weight"], ["batches", "mask", "phase"])
    tuned = getattr(copy.deepcopy(net), {torch.float16: "half", torch.bfloat16: "bfloat16"}[dtype])()
    verdict = compare(base, tuned)
    assert (dict(verdict.touched), verdict.upstream) == ({"weight": "cast"}, "exact")
    for name, value in (("batches", 100_002), ("mask", True), ("phase", 0.1)):
        changed = copy.deepcopy(tuned)
        getattr(changed, name).view(-1)[-1] = value
        assert compare(base, changed).upstream == "different", name


@pytest.mark.parametrize(
    "tensor",
    [torch.eye(2).to_sparse(), torch.ones(2, device="meta")],
    ids=["sparse", "meta"],
)
def test_what_cannot_be_digested_is_an_error_of_ours(make, net, tensor):
    edit = make.edit(net, 1, ("linear",), upstream=["noise"])
    with pytest.raises(EditError, match="noise"):
        describe({"linear": net.linear, "noise": tensor}, ["linear"], ["noise"])
    with pytest.raises(EditError, match="noise"):
        compare(edit.base, {"linear": net.linear, "noise": tensor})


def test_one_look_digests_each_tensor_once(make, net, monkeypatch):
    bases = [describe(net, ["linear"], ["bias", "conv"]), describe(net, ["conv"], ["bias", "linear", "gain"])]
    real, digested = identity.digest, []

    def counting(tensor, dtype):
        digested.append(next(name for name, own in net.state_dict(keep_vars=True).items() if own is tensor))
        return real(tensor, dtype)

    monkeypatch.setattr(identity, "digest", counting)
    look = identity.Look(identity.state(net))
    for base in bases:
        verdict = compare(base, look)
        assert {*verdict.touched.values(), verdict.upstream} == {"exact"}
    assert sorted(digested) == ["bias", "conv", "gain", "linear"]


def test_upstream_change_warns_and_is_not_refused(make, net):
    edit = make.edit(net, 1, ("linear",), upstream=["bias"])
    with torch.no_grad():
        net.bias.add_(1)
    stack = Stack(net)
    with pytest.warns(EditWarning, match="upstream of linear"):
        stack.push(edit, 1.0)
    assert len(stack.contents) == 1


def test_upstream_is_judged_by_the_base_of_the_stack(make, net):
    lower = make.edit(net, 1, ("bias",), kinds=("dense",))
    upper = make.edit(net, 2, ("linear",), upstream=["bias"])
    stack = Stack(net)
    stack.push(lower)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stack.push(upper, 1.0)


def test_touched_is_judged_by_the_base_of_the_stack(make, net):
    first, second = (make.edit(net, seed, ("linear",), kinds=("low-rank",)) for seed in (1, 2))
    stack = Stack(net)
    stack.push(first)
    stack.push(second)
    edited = make.edit(net, 3, ("linear",))
    with pytest.raises(EditError, match="are not the weights"):
        stack.push(edited, 1.0)


def test_another_base_is_refused_and_force_is_recorded(make, net):
    edit = make.edit(net, 1, ("linear", "conv"))
    with torch.no_grad():
        net.linear.mul_(1.001)
    before, stack = make.bits(net), Stack(net)
    with pytest.raises(EditError, match="linear of this module are not the weights"):
        stack.push(edit, 1.0)
    assert make.bits(net) == before
    assert not stack.contents
    stack.push(edit, 1.0, force=True)
    assert stack.forced == {edit.content: ("linear",)}
    stack.remove(edit)
    assert make.bits(net) == before
    assert stack.forced == {}


def test_force_on_the_right_base_records_nothing(make, net):
    stack = Stack(net)
    stack.push(make.edit(net, 1), 1.0, force=True)
    assert stack.forced == {}


def test_force_does_not_reach_a_wrong_shape(make, net):
    edit = make.edit(net, 1, ("linear",))
    net.linear = nn.Parameter(torch.ones(5, 6))
    with pytest.raises(EditError, match="shape"):
        Stack(net).push(edit, 1.0, force=True)
