"""Base and difference are the other checkpoint; and what is left out of it is said."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import edits
from edits import Dense, LowRank
from rewrite.difference import diff
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.memory import Change, as_operation
from rewrite.models import dcgan, mobilestylegan, stylegan2
from rewrite.wrap import wrap


def small_dcgan() -> Generator:
    torch.manual_seed(0)
    return dcgan.generator(dcgan.DCGAN(z=16, channels=(24, 16, 8, 3)).eval().requires_grad_(False))


def small_mobile() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(1, noise=0.2, style=16, depth=2, channels=(32, 16, 24, 16))
    return mobilestylegan.generator(module)


def small_stylegan2() -> Generator:
    module = stylegan2.StyleGAN2.random(2, resolution=16, channels=(24, 20, 16), z=16, w=18, depth=2, noise=0.1)
    return stylegan2.generator(module)


MADE: dict[str, tuple[Callable[[], Generator], str]] = {
    "dcgan": (small_dcgan, "main.3"),
    "mobilestylegan": (small_mobile, "layers.0.conv2"),
    "stylegan2": (small_stylegan2, "synthesis.b8.conv0"),
}


@pytest.fixture(params=MADE)
def generator(request: pytest.FixtureRequest) -> Generator:
    return MADE[request.param][0]()


def state(generator: Generator) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}


def tuned(generator: Generator, size: float = 0.05, seed: int = 1) -> dict[str, Tensor]:
    """Every tensor moved by noise."""
    draws = torch.Generator().manual_seed(seed)
    noise = {name: size * torch.randn(tensor.shape, generator=draws) for name, tensor in state(generator).items()}
    return {
        name: tensor + noise[name].to(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in state(generator).items()
    }


def reached(generator: Generator, edit: edits.Edit) -> dict[str, Tensor]:
    with edits.applied(generator.module, (edit, 1.0)):
        return state(generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_at_full_rank_base_and_edit_are_the_other_number_for_number(generator, dtype) -> None:
    generator.module.to(dtype)
    other = tuned(generator)
    # Numbers that no one float32 difference leads to.
    first = next(iter(other))
    other[first].view(-1)[:3] = torch.tensor([0.0, 1e-7, -3e-5])
    edit = diff(generator, other, rank="full")
    after = reached(generator, edit)
    assert all(torch.equal(tensor, other[name]) for name, tensor in after.items())
    assert edit.notes["numbers_that_differ"] == 0
    assert edit.notes["energy_kept"] == 1.0
    assert all(row.form in ("dense", "slices") for row in edit.rows)


def test_where_float32_cannot_say_it_the_rounding_is_stated() -> None:
    module = nn.Sequential(nn.Linear(2, 12), nn.Unflatten(1, (3, 2, 2))).double().requires_grad_(False)
    generator = wrap(module, latent=2, sample=lambda names: torch.ones(len(list(names)), 2, dtype=torch.float64))
    other = state(generator)
    other["0.weight"][0, 0] = other["0.weight"][0, 0] + 1e30 + 1.0
    other["0.bias"][0] += 1e-3
    edit = diff(generator, other, rank="full")
    after = reached(generator, edit)
    missing = (after["0.weight"] - other["0.weight"]).abs()
    assert edit.notes["numbers_that_differ"] == int((missing != 0).sum()) > 0
    assert edit.notes["largest_difference"] == pytest.approx(float(missing.max()), rel=1e-6)


def baked(generator: Generator, layer_name: str, rank: int) -> tuple[edits.Edit, dict[str, Tensor]]:
    layer, draws = generator.layers[layer_name], torch.Generator().manual_seed(3)
    change = Change(
        0.3 * torch.randn(layer.out_features, rank, *layer.kernel, generator=draws).double(),
        torch.randn(rank, layer.in_features, generator=draws).double(),
    )
    base = edits.describe(generator.module, [layer.weight], layer.upstream, generator.architecture)
    edit = edits.Edit({layer.weight: (as_operation(layer, change),)}, base)
    return edit, reached(generator, edit)


@pytest.mark.parametrize(("make", "layer"), MADE.values(), ids=MADE)
def test_a_baked_rule_is_found_again_with_its_rank(make, layer) -> None:
    generator = make()
    rule, other = baked(generator, layer, 2)
    edit = diff(generator, other, energy=1 - 1e-9)
    (row,) = edit.rows
    assert (row.parameter, row.form, row.rank) == (generator.layers[layer].weight, "low-rank", 2)
    assert edit.operations[row.parameter][0].form.right_axes == rule.operations[row.parameter][0].form.right_axes
    assert edit.base == rule.base
    assert edit.notes["tensors"][row.parameter]["energy_kept"] > 1 - 1e-9
    after = reached(generator, edit)
    assert all(torch.allclose(tensor, other[name], rtol=0, atol=1e-6) for name, tensor in after.items())


def squared(generator: Generator, edit: edits.Edit, other: dict[str, Tensor], name: str) -> tuple[float, float]:
    """What is missing in a tensor, and what there was to make up for."""
    before, after = state(generator)[name].double(), reached(generator, edit)[name].double()
    return float((other[name].double() - after).square().sum()), float((other[name].double() - before).square().sum())


@pytest.mark.parametrize("rank", [1, 3])
def test_a_rank_keeps_what_the_singular_values_say(generator, rank) -> None:
    other, before = tuned(generator), state(generator)
    edit = diff(generator, other, rank=rank)
    layers = {layer.weight: layer for layer in generator.layers.values()}
    for name, kept in edit.notes["tensors"].items():
        missing, whole = squared(generator, edit, other, name)
        assert kept["energy_kept"] == pytest.approx(1 - missing / whole, abs=1e-6)
        if kept["rank"] is None or name not in layers:
            continue
        assert kept["rank"] == rank
        difference = (other[name].double() - before[name].double()).movedim(
            (layers[name].out_axis, layers[name].in_axis), (0, 1)
        )
        best = max(
            float(torch.linalg.svdvals(matrix)[:rank].square().sum())
            for matrix in (difference.flatten(1), difference.transpose(0, 1).flatten(1))
        )
        assert kept["energy_kept"] == pytest.approx(best / whole, rel=1e-4)


def decaying(generator: Generator, layer_name: str) -> tuple[str, dict[str, Tensor]]:
    """A change whose singular values fall off."""
    layer, other = generator.layers[layer_name], state(generator)
    name, draws = layer.weight, torch.Generator().manual_seed(4)
    rows = other[name].movedim(layer.in_axis, -1).reshape(-1, layer.in_features)
    left, _ = torch.linalg.qr(torch.randn(len(rows), 8, generator=draws, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(layer.in_features, 8, generator=draws, dtype=torch.float64))
    change = left * 0.5 ** torch.arange(8.0) @ right.T
    shape = [size for axis, size in enumerate(layer.shape) if axis != layer.in_axis]
    other[name] = (other[name].double() + change.reshape(*shape, -1).movedim(-1, layer.in_axis)).float()
    return name, other


@pytest.mark.parametrize(("make", "layer"), MADE.values(), ids=MADE)
def test_auto_takes_the_least_rank_that_keeps_the_energy(make, layer) -> None:
    generator = make()
    name, other = decaying(generator, layer)
    ranks = []
    for energy in (0.5, 0.9, 0.99, 0.999):
        edit = diff(generator, other, energy=energy)
        missing, whole = squared(generator, edit, other, name)
        assert 1 - missing / whole >= energy - 1e-6
        assert edit.notes["energy"] == energy
        ranks.append(edit.rows[0].rank)
        if ranks[-1] > 1:
            less = diff(generator, other, rank=ranks[-1] - 1)
            assert 1 - squared(generator, less, other, name)[0] / whole < energy
    assert ranks == sorted(ranks)
    assert (ranks[0], ranks[-1]) == (1, 5)


def test_dense_where_low_rank_does_not_pay_and_vectors_always(generator) -> None:
    edit = diff(generator, tuned(generator), energy=0.99999)
    layers = {layer.weight for layer in generator.layers.values()}
    for row in edit.rows:
        assert row.form != "low-rank" or row.rank * 2 < min(row.shape[:2]) * 2
        if len(row.shape) < 2:
            assert row.form == "dense"
    assert any(row.form == "dense" for row in edit.rows if row.parameter in layers)
    small = diff(generator, tuned(generator), rank=1)
    forms = {type(operation.form) for operations in small.operations.values() for operation in operations}
    assert forms >= {LowRank, Dense}
    room = sum(tensor.numel() for tensor in small.tensors().values())
    assert room < sum(tensor.numel() for tensor in edit.tensors().values())


def test_it_composes_with_edits_of_the_base_and_is_the_same_every_time(generator, tmp_path) -> None:
    other = tuned(generator)
    one, again = (diff(generator, other, rank=2) for _ in range(2))
    one.save(tmp_path / "one")
    again.save(tmp_path / "again")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()
    layer = next(name for name, layer in generator.layers.items() if layer.refuses is None)
    rule, _ = baked(generator, layer, 1)
    both = edits.compose([(one, 0.5), (rule, 1.0)])
    edits.Stack(generator.module).push(both)


def test_the_other_may_be_a_generator_and_is_left_alone(generator) -> None:
    other = copy.deepcopy(generator)
    other.module.load_state_dict(tuned(generator))
    before, kept = state(generator), state(other)
    edit = diff(generator, other, rank=1)
    assert edit.content == diff(generator, kept, rank=1).content
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(generator).items())
    assert all(torch.equal(tensor, kept[name]) for name, tensor in state(other).items())


class Tied(nn.Module):
    """One weight under two names; a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.register_buffer("steps", torch.tensor(3))

    def forward(self, z: Tensor) -> Tensor:
        return self.second(self.first(z)).unflatten(1, (3, 2, 2))


def test_a_tied_tensor_is_changed_once_and_counters_are_left_out() -> None:
    torch.manual_seed(0)
    generator = wrap(Tied().requires_grad_(False), latent=12)
    other = tuned(generator)
    other["second.weight"] = other["first.weight"]
    other["steps"] = torch.tensor(9)
    edit = diff(generator, other, rank="full")
    assert edit.notes["left_out"] == ["steps"]
    assert len({"first.weight", "second.weight"} & set(edit.touched)) == 1
    after = reached(generator, edit)
    assert all(torch.equal(after[name], tensor) for name, tensor in other.items() if name != "steps")
    other["second.weight"] = other["first.weight"] + 1
    with pytest.raises(RewriteError, match="one tensor in the base and two"):
        diff(generator, other)


def test_what_cannot_be_subtracted_is_told(generator) -> None:
    other = state(generator)
    with pytest.raises(RewriteError, match="hold the same weights"):
        diff(generator, other)
    name = next(name for name, tensor in other.items() if tensor.ndim == 4)
    for changed, words in (
        ({key: tensor for key, tensor in other.items() if key != name}, "in one of them only"),
        (other | {"more": torch.ones(1)}, "more is in one of them only"),
        (other | {name: other[name][..., :1]}, "in one of them and"),
    ):
        with pytest.raises(RewriteError, match=words):
            diff(generator, changed)
    with pytest.raises(RewriteError, match="NaN"):
        diff(generator, other | {name: other[name] * torch.nan})
    for wrong in ({"rank": 0}, {"rank": "half"}, {"rank": True}, {"energy": 0.0}, {"energy": 1.5}):
        with pytest.raises(RewriteError, match="expected a whole number"):
            diff(generator, tuned(generator), **wrong)
