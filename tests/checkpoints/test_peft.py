"""LoRA adapters: what PEFT makes of ours, and we of theirs, is one and the same; nothing hostile gets in."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import edits
from edits import Add, Dense, EditError, LowRank, Scale
from rewrite.checkpoints import peft as adapters
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.memory import Change, as_operation
from rewrite.models import dcgan, mobilestylegan
from rewrite.wrap import wrap


@pytest.fixture(scope="module")
def peft() -> ModuleType:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import peft

    return peft


class Network(nn.Module):
    """Modules of every kind that PEFT has a LoRA for; one name is the end of another."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(8, 6 * 4 * 4)
        self.conv = nn.Conv2d(6, 5, 3, padding=1)
        self.inner = nn.ModuleDict({"conv": nn.Conv2d(5, 4, (1, 3), padding=(0, 1), bias=False)})
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = torch.relu(self.start(z)).unflatten(1, (6, 4, 4))
        return torch.tanh(self.last(self.inner["conv"](torch.relu(self.conv(x)))))


def network() -> Generator:
    torch.manual_seed(0)
    return wrap(Network().requires_grad_(False), latent=8)


def mobile() -> Generator:
    return mobilestylegan.generator(mobilestylegan.MobileStyleGAN.random(1, style=12, depth=2, channels=(16, 8, 12, 4)))


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rule(layer: Layer, rank: int = 2, seed: int = 0) -> Add:
    response = 0.3 * drawn(seed, layer.out_features, rank, *layer.kernel).double()
    return as_operation(layer, Change(response, drawn(seed + 1, rank, layer.in_features).double()))


def lora(layer: Layer, rank: int = 2, seed: int = 0) -> Add:
    columns = layer.in_features * layer.kernel[0] * layer.kernel[1]
    form = LowRank(
        drawn(seed, layer.out_features, rank), drawn(seed + 1, rank, columns), (0,), tuple(range(1, len(layer.shape)))
    )
    return Add(layer.shape, form)


def edit_of(generator: Generator, operations: dict[str, list[Add | Scale]], **facts) -> edits.Edit:
    names = {generator.layers[path].weight: tuple(made) for path, made in operations.items()}
    return edits.Edit(names, edits.describe(generator.module, names), **facts)


def baked(generator: Generator, edit: edits.Edit, strength: float | None = None) -> dict[str, Tensor]:
    with edits.applied(generator.module, (edit, strength)):
        return {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}


def merged(peft: ModuleType, generator: Generator, folder: Path) -> nn.Module:
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(generator.module), folder)
    return loaded.merge_and_unload()


def every_kind(generator: Generator, **facts) -> edits.Edit:
    layers = generator.layers
    made = {
        "start": [rule(layers["start"], seed=1)],
        "conv": [rule(layers["conv"], seed=3), lora(layers["conv"], 3, seed=5)],
        "inner.conv": [rule(layers["inner.conv"], 1, seed=7)],
        "last": [lora(layers["last"], 1, seed=9)],
    }
    return edit_of(generator, made, **facts)


@pytest.mark.parametrize("strength", [None, 1.0, -0.7])
def test_peft_makes_of_an_exported_edit_what_the_stack_makes(peft, tmp_path: Path, strength) -> None:
    generator = network()
    edit = every_kind(generator, strength=0.4)
    adapters.write(tmp_path, edit, strength)
    theirs = merged(peft, generator, tmp_path).state_dict()
    for name, tensor in baked(generator, edit, strength).items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=2e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == [adapters.CONFIG, adapters.WEIGHTS]


def test_peft_runs_an_exported_edit_of_a_generator(peft, tmp_path: Path) -> None:
    generator = mobile()
    edit = edit_of(
        generator, {path: [rule(generator.layers[path])] for path in ("conv1", "layers.0.conv2", "mapping.1")}
    )
    adapters.write(tmp_path, edit)
    z = generator.latents([1, 2])
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(generator.module), tmp_path).eval()
    with torch.no_grad():
        theirs = loaded(z)
    with edits.applied(generator.module, (edit, 1.0)):
        torch.testing.assert_close(theirs, generator.module(z), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(theirs, generator.module(z), atol=1e-2)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "settings", [{}, {"use_rslora": True}, {"target_modules": ["conv"]}], ids=["plain", "rs", "names"]
)
def test_an_adapter_of_pefts_own_is_imported(peft, tmp_path: Path, shared: bool, settings) -> None:
    generator = network()
    patterns = {} if shared else {"alpha_pattern": {"inner.conv": 5}, "rank_pattern": {"inner.conv": 2}}
    config = peft.LoraConfig(**{"target_modules": "start|.*conv|last", "r": 4, "lora_alpha": 6, **patterns, **settings})
    theirs = peft.get_peft_model(copy.deepcopy(generator.module), config)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    theirs.save_pretrained(tmp_path)
    edit = adapters.read(tmp_path, generator)
    wanted = theirs.merge_and_unload().state_dict()
    found = baked(generator, edit)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=1e-5)
    changed = [name for name, tensor in found.items() if not torch.equal(tensor, generator.module.state_dict()[name])]
    assert len(changed) == (2 if settings.get("target_modules") else 4)
    assert (edit.strength == 1.0) is not shared
    edit.save(tmp_path / "edit.safetensors")
    assert edits.load(tmp_path / "edit.safetensors").content == edit.content


def dense(add: Add) -> Tensor:
    assert isinstance(add.form, LowRank)
    axes = (*add.form.left_axes, *add.form.right_axes)
    folded = (add.form.left.double() @ add.form.right.double()).reshape([add.shape[axis] for axis in axes])
    return folded.permute(torch.tensor(axes).argsort().tolist())


def test_a_rule_of_rank_r_is_a_lora_of_rank_r_times_the_taps_exactly(tmp_path: Path) -> None:
    generator = network()
    for path, taps in (("start", 1), ("conv", 9), ("inner.conv", 3), ("last", 1)):
        add = rule(generator.layers[path], 2)
        edit = edit_of(generator, {path: [add]})
        (found,) = adapters.factors(edit, 1.0).values()
        assert found.rank == 2 * taps
        product = (found.b.double() @ found.a.flatten(1).double()).reshape(add.shape)
        assert torch.equal(product, dense(add))
        assert set(found.b.flatten().tolist()) == set(add.form.left.flatten().tolist())
        assert set(found.a.flatten().tolist()) <= {0.0, *add.form.right.flatten().tolist()}


def test_there_and_back_is_the_same_change_and_then_the_same_edit(tmp_path: Path) -> None:
    generator = network()
    edit = every_kind(generator, strength=0.5)
    adapters.write(tmp_path / "one", edit)
    again = adapters.read(tmp_path / "one", generator)
    assert again.strength == 0.5
    for name, operations in edit.operations.items():
        (back,) = again.operations[name]
        torch.testing.assert_close(dense(back), sum(map(dense, operations)), rtol=0, atol=1e-12)
    adapters.write(tmp_path / "two", again)
    for name in (adapters.CONFIG, adapters.WEIGHTS):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert adapters.read(tmp_path / "two", generator).content == again.content


def test_members_of_a_composed_edit_are_summed(tmp_path: Path) -> None:
    generator = network()
    one, two = (edit_of(generator, {"conv": [rule(generator.layers["conv"], seed=seed)]}) for seed in (1, 5))
    both = edits.compose([(one, 0.25), (two, -1.5)])
    adapters.write(tmp_path, both, 2.0)
    found, wanted = baked(generator, adapters.read(tmp_path, generator)), baked(generator, both, 2.0)
    assert all(torch.allclose(found[name], tensor, rtol=0, atol=2e-6) for name, tensor in wanted.items())


def test_what_lora_cannot_say_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    generator = network()
    layers, ones = generator.layers, torch.ones(5)
    bias = edits.Edit({"conv.bias": (Add((5,), Dense(ones)),)}, edits.describe(generator.module, ["conv.bias"]))
    scale = edit_of(generator, {"conv": [Scale(layers["conv"].shape, 0, torch.tensor([1]), torch.zeros(1))]})
    whole = edit_of(generator, {"conv": [Add(layers["conv"].shape, Dense(torch.ones(layers["conv"].shape)))]})
    torch.manual_seed(0)
    other = dcgan.generator(dcgan.DCGAN(z=4, channels=(4, 3)).requires_grad_(False))
    transposed = edit_of(other, {"main.3": [rule(other.layers["main.3"])]})
    for edit, words in (
        (bias, "a dense add of conv.bias"),
        (scale, "a scale of conv.weight"),
        (whole, "a dense add of conv.weight"),
        (transposed, "not of a transposed one"),
    ):
        with pytest.raises(RewriteError, match=words):
            adapters.write(tmp_path / "out", edit)
    assert not (tmp_path / "out").exists()


def altered(folder: Path, weights=None, **settings) -> None:
    config = json.loads((folder / adapters.CONFIG).read_text())
    (folder / adapters.CONFIG).write_text(json.dumps(config | settings))
    if weights:
        tensors = load_file(folder / adapters.WEIGHTS)
        weights(tensors)
        save_file(tensors, folder / adapters.WEIGHTS)


KEY = "base_model.model.conv.lora_A.weight"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"peft_type": "LOHA"}, "type 'LOHA'"),
        ({"use_dora": True}, "use_dora"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"modules_to_save": ["last"]}, "modules_to_save"),
        ({"bias": "all"}, "bias 'all'"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "regular expression"),
        ({"alpha_pattern": [1]}, "alpha_pattern"),
        ({"alpha_pattern": {}, "lora_alpha": "8"}, "alpha is '8'"),
        ({"alpha_pattern": {"^conv$": 1e999}}, "Infinity is not a JSON number"),
        ({"alpha_pattern": {"^conv$": True}}, "alpha is True"),
        ({"weights": lambda t: t.pop(KEY)}, "lora_B of conv alone"),
        ({"weights": lambda t: t.update({KEY: torch.ones(9, 6, 3, 3)})}, "factors for conv.weight"),
        ({"weights": lambda t: t.update({KEY: torch.full((18, 6, 3, 3), torch.nan)})}, "finite"),
        ({"weights": lambda t: t.update({KEY: torch.ones(18, 6, 3, 3, dtype=torch.int32)})}, "int32"),
        ({"weights": lambda t: t.update({KEY.replace("conv", "cnov"): torch.ones(1, 6)})}, "lora_A of cnov alone"),
        ({"weights": lambda t: t.update({"lora_magnitude_vector": torch.ones(1, 6)})}, "no factor of a LoRA"),
        ({"weights": lambda t: t.update({KEY.replace("A.", "A.default."): torch.ones(1, 6)})}, "no factor of a LoRA"),
        ({"weights": lambda t: t.clear()}, "no factors at all"),
    ],
)  # fmt: skip
def test_an_adapter_that_is_something_else_is_refused(tmp_path: Path, settings, words: str) -> None:
    generator = network()
    adapters.write(tmp_path, edit_of(generator, {"conv": [rule(generator.layers["conv"])]}))
    adapters.read(tmp_path, generator)
    altered(tmp_path, **settings)
    with pytest.raises(RewriteError, match=words):
        adapters.read(tmp_path, generator)


def test_an_adapter_for_another_model_is_refused(tmp_path: Path) -> None:
    generator = network()
    adapters.write(tmp_path, edit_of(generator, {"conv": [rule(generator.layers["conv"])]}))
    with pytest.raises(EditError, match=r"no parameter 'conv\.weight'"):
        adapters.read(tmp_path, mobile())
    torch.manual_seed(0)
    other = dcgan.generator(dcgan.DCGAN(z=4, channels=(6, 3)).requires_grad_(False))
    tensors = load_file(tmp_path / adapters.WEIGHTS)
    save_file({name.replace("conv", "main.3"): tensor for name, tensor in tensors.items()}, tmp_path / adapters.WEIGHTS)
    with pytest.raises(RewriteError, match="a transposed conv"):
        adapters.read(tmp_path, other)


def test_files_that_are_no_adapter(tmp_path: Path) -> None:
    generator = network()
    with pytest.raises(RewriteError, match="cannot be read"):
        adapters.read(tmp_path, generator)
    adapters.write(tmp_path, edit_of(generator, {"conv": [rule(generator.layers["conv"])]}))
    config, weights = tmp_path / adapters.CONFIG, tmp_path / adapters.WEIGHTS
    sound = weights.read_bytes()
    header = sound[8 : 8 + int.from_bytes(sound[:8], "little")]
    twice = header.rstrip()[:-1] + b"," + header.rstrip()[1:]
    for raw in (
        b"", b"PK\x03\x04", sound[:-1], sound[:40], sound + b"\0", (2**40).to_bytes(8, "little") + sound[8:],
        len(twice).to_bytes(8, "little") + twice + sound[8 + len(header) :], b"\x10" + b"\0" * 7 + b"[" * 16,
    ):  # fmt: skip
        weights.write_bytes(raw)
        with pytest.raises(RewriteError, match=r"safetensors|header"):
            adapters.read(tmp_path, generator)
    weights.write_bytes(sound)
    for raw in (
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"peft_type":"LORA","peft_type":"LORA"}',
        b"\xff",
        b" " * (2**20 + 1),
    ):
        config.write_bytes(raw)
        with pytest.raises(RewriteError, match=r"adapter|cannot be read"):
            adapters.read(tmp_path, generator)
