"""The same weights are known again however they are stored, and no others; a baked checkpoint is a new base."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

import edits
from rewrite.generator import Generator
from rewrite.memory import Change, as_operation
from rewrite.models import dcgan, load, mobilestylegan, save, stylegan2


def small_dcgan() -> Generator:
    torch.manual_seed(0)
    return dcgan.generator(dcgan.DCGAN(z=16, channels=(24, 16, 3)).eval().requires_grad_(False))


def small_mobile() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(1, noise=0.2, style=12, depth=2, channels=(16, 8, 12, 4))
    return mobilestylegan.generator(module)


def small_stylegan2() -> Generator:
    module = stylegan2.StyleGAN2.random(2, noise=0.2, resolution=16, channels=[12, 8, 6], z=10, w=14, depth=2)
    return stylegan2.generator(module)


MADE: dict[str, Callable[[], Generator]] = {
    "dcgan": small_dcgan,
    "mobilestylegan": small_mobile,
    "stylegan2": small_stylegan2,
}
State = dict[str, Tensor]


@pytest.fixture(params=MADE)
def generator(request: pytest.FixtureRequest) -> Generator:
    return MADE[request.param]()


def everything(generator: Generator) -> list[edits.Base]:
    """For each rewritable layer, the base of an edit of it; and one of an edit of all of them."""
    layers = [layer for layer in generator.layers.values() if layer.refuses is None]
    whole = edits.describe(generator.module, [layer.weight for layer in layers], generator.module.state_dict())
    return [whole, *(edits.describe(generator.module, [layer.weight], layer.upstream) for layer in layers)]


def through_torch(state: State) -> State:
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    loaded: State = torch.load(stream, weights_only=True)
    return loaded


def through_safetensors(state: State) -> State:
    return safetensors.torch.load(safetensors.torch.save({name: tensor.clone() for name, tensor in state.items()}))


def cast(dtype: torch.dtype) -> Callable[[State], State]:
    return lambda state: {name: tensor.to(dtype) for name, tensor in state.items()}


def verdicts(generator: Generator, state: State) -> set[str]:
    """Every match there is; the first layer of a generator has nothing upstream."""
    found = [edits.compare(base, state) for base in everything(generator)]
    return {match for verdict in found for match in (*verdict.touched.values(), verdict.upstream)} - {"unknown"}


@pytest.mark.parametrize(
    "store", [through_torch, through_safetensors, cast(torch.float64)], ids=["pt", "st", "float64"]
)
def test_the_same_weights_in_another_file_are_exact(generator, store) -> None:
    assert verdicts(generator, store(generator.module.state_dict())) == {"exact"}


@pytest.mark.parametrize("store", [through_torch, through_safetensors])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("back", [False, True], ids=["as it is", "in float32"])
def test_weights_cast_once_are_recognised(generator, store, dtype, back) -> None:
    state = store(cast(dtype)(generator.module.state_dict()))
    found = verdicts(generator, cast(torch.float32)(state) if back else state)
    # A tensor of round numbers (a bias of zeros) is the same at any precision.
    assert found <= {"cast", "exact"}
    assert "cast" in found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_fine_tune_of_a_thousandth_is_refused(generator, dtype) -> None:
    noise = torch.Generator().manual_seed(3)
    tuned = {
        name: (tensor * (1 + 1e-3 * torch.randn(tensor.shape, generator=noise))).to(dtype)
        for name, tensor in generator.module.state_dict().items()
    }
    for base in everything(generator):
        verdict = edits.compare(base, tuned)
        assert set(verdict.touched.values()) == {"different"}
        assert verdict.upstream == ("different" if base.upstream else "unknown")


def one_edit(generator: Generator, seed: int, layer_name: str) -> edits.Edit:
    layer, draws = generator.layers[layer_name], torch.Generator().manual_seed(seed)
    change = Change(
        torch.randn(layer.out_features, 1, *layer.kernel, generator=draws).double(),
        torch.randn(1, layer.in_features, generator=draws).double(),
    )
    base = edits.describe(generator.module, [layer.weight], layer.upstream, generator.architecture)
    return edits.Edit({layer.weight: (as_operation(layer, change),)}, base)


def test_a_baked_checkpoint_is_a_new_base_that_remembers(generator, tmp_path: Path) -> None:
    first, *_, last = [name for name, layer in generator.layers.items() if layer.refuses is None]
    old, later = one_edit(generator, 1, first), one_edit(generator, 2, last)
    with edits.applied(generator.module, (old, 0.5)):
        edited = {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}
        save(generator, tmp_path / "baked", history=[{"content": old.content, "strength": 0.5}])
    baked = load(tmp_path / "baked")
    assert all(torch.equal(tensor, edited[name]) for name, tensor in baked.module.state_dict().items())
    assert [entry["content"] for entry in baked.card["history"]] == [old.content]

    with pytest.raises(edits.EditError, match="are not the weights"):
        edits.Stack(baked.module).push(old)
    with pytest.warns(edits.EditWarning, match="upstream"):
        edits.Stack(baked.module).push(later, 0.0)

    new = one_edit(baked, 3, first)
    with edits.applied(baked.module, (new, 1.0)):
        save(baked, tmp_path / "twice", history=[{"content": new.content, "strength": 1.0}])
    assert [entry["content"] for entry in load(tmp_path / "twice").card["history"]] == [old.content, new.content]
    with pytest.raises(edits.EditError, match="are not the weights"):
        edits.Stack(generator.module).push(new)
