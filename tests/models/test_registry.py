"""Files of others, by what is in them: loaded, saved as ours, and refused in a sentence where they cannot be."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rewrite.checkpoints.foreign import Foreign, Network
from rewrite.errors import RewriteError
from rewrite.models import load, recognise, save
from rewrite.models.biggan import BigGAN
from rewrite.models.dcgan import DCGAN
from rewrite.models.pggan import PGGAN
from rewrite.models.registry import FAMILIES, LAYOUTS, build
from rewrite.models.sngan import SNGAN
from rewrite.models.stylegan2 import StyleGAN2
from rewrite.models.stylegan3 import StyleGAN3

TINY: dict[str, dict[str, Any]] = {
    "stylegan2": {"resolution": 8, "channels": [6, 4], "z": 5, "w": 6, "depth": 2},
    "stylegan3": {"resolution": 8, "base": 16, "most": 4, "count": 3, "z": 4, "w": 4},
    "pggan": {"z": 4, "channels": [4, 3]},
    "sngan": {"z": 4, "side": 2, "channels": [4, 4]},
}


def files() -> dict[str, Mapping[str, Tensor]]:
    """Tensors by the names that others give them, a family each."""
    torch.manual_seed(0)
    stylegan2 = StyleGAN2.random(0, **TINY["stylegan2"]).state_dict()
    pggan = PGGAN.random(0, **TINY["pggan"]).state_dict()
    dissected = {name.replace(".weight", ".conv.weight").replace(".bias", ".wscale.b"): t for name, t in pggan.items()}
    dissected = {name.replace("output.", "output_8x8."): tensor for name, tensor in dissected.items()}
    biggan = BigGAN.random(0, z=3, classes=2, embedding=2, width=4, blocks=[[False, 64, 32], [True, 32, 16],
                           [False, 16, 8], [True, 8, 4]], attention=1)  # fmt: skip
    unfolded: dict[str, Tensor] = {}
    for name, tensor in biggan.state_dict().items():
        normed = name.endswith(".weight") and tensor.ndim > 1 and name != "embeddings.weight"
        unfolded[f"{name}_orig" if normed else name] = tensor
        if normed:
            unfolded |= {f"{name}_u": torch.randn(len(tensor)), f"{name}_v": torch.randn(tensor[0].numel())}
    return {
        "stylegan2": stylegan2,
        "stylegan3": StyleGAN3.random(0, **TINY["stylegan3"]).state_dict(),
        "pggan": dissected,
        "sngan": SNGAN.random(0, **TINY["sngan"]).state_dict(),
        "biggan": unfolded,
        "dcgan": DCGAN(z=4, channels=[4, 3]).state_dict(),
    }


FILES = files()
FIRST = ".".join(next(name for name in FILES["stylegan3"] if ".L0_" in name).split(".")[:2])


@pytest.mark.parametrize("family", FILES)
def test_a_file_of_torch_is_loaded_and_saved_as_ours(family: str, tmp_path: Path) -> None:
    torch.save({"generator": {f"module.{name}": t for name, t in FILES[family].items()}, "step": 3}, tmp_path / "x.pt")
    G = load(tmp_path / "x.pt")
    assert G.architecture == family
    assert G.name == ""
    assert G.card["origin"].startswith("torch zip with ")
    assert not any(parameter.requires_grad for parameter in G.module.parameters())
    save(G, tmp_path / "ours.safetensors")
    again = load(tmp_path / "ours.safetensors")
    assert all(torch.equal(tensor, again.module.state_dict()[name]) for name, tensor in G.module.state_dict().items())
    assert (again.architecture, again.card["origin"]) == (family, G.card["origin"])


def test_what_nobody_knows_is_refused_with_what_was_found(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "x.pt")
    with pytest.raises(RewriteError, match="tensors named bias, weight"):
        load(tmp_path / "x.pt")
    (tmp_path / "x.txt").write_text("a letter")
    with pytest.raises(RewriteError, match="text"):
        load(tmp_path / "x.txt")


def test_every_layout_leaves_the_files_of_others_alone() -> None:
    for family, tensors in FILES.items():
        network = Network(tensors)
        found = [layout for explain in LAYOUTS if (layout := explain(network, {})) is not None]
        assert [layout.family for layout in found] == [family]
        assert found[0].unexplained(tensors) == []
    assert set(FILES) | {"mobilestylegan", "stylegan"} == set(FAMILIES)


@pytest.mark.parametrize("family", FILES)
def test_a_damaged_file_is_refused_in_a_sentence(family: str) -> None:
    """Tensors gone, of other shapes or of other names: an error of ours, or a network that runs; nothing else."""
    draws = random.Random(family)
    for _ in range(25):
        tensors = dict(FILES[family])
        for name in draws.sample(sorted(tensors), 2):
            tensor = tensors.pop(name)
            kind = draws.randrange(4)
            if kind == 0:
                tensors[name] = tensor.flatten()
            elif kind == 1:
                tensors[name] = tensor.new_ones([draws.choice([0, 1, 2, 5]) for _ in range(draws.randrange(5))])
            elif kind == 2:
                tensors[f"{name}.{draws.randrange(3)}"] = tensor
        said, module = "", None
        try:
            module, _ = build(Foreign("torch zip", {"": Network(tensors)}), "the file")
        except RewriteError as error:
            said = str(error)
        assert "\n" not in said
        assert module is None or all(tensor.device.type == "cpu" for tensor in module.state_dict().values())


@pytest.mark.parametrize(
    "facts",
    [
        {"modules": 3},
        {"modules": {"synthesis.input": {"attributes": {"size": "wide"}}}},
        {"modules": {"synthesis.input": {"attributes": {"bandwidth": [1]}}}},
        {"modules": {"synthesis.input": {"attributes": {"sampling_rate": 1e300}}}},
        {"modules": {"synthesis": {"attributes": {"layer_names": [[]]}}}},
        {"modules": {FIRST: {"attributes": {"conv_clamp": {}}}}},
        {"modules": {FIRST: {"attributes": {"up_factor": 10**9}}}},
    ],
)
def test_a_pickle_that_says_nonsense_of_itself_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(RewriteError) as caught:
        recognise(Foreign("pickle", {"": Network(FILES["stylegan3"], facts)}))
    assert "\n" not in str(caught.value)
