"""Checkpoints of ours: saved, loaded, saved again, the same bytes; anything else an error."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rewrite import models
from rewrite.checkpoints import native
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.models import dcgan, mobilestylegan, stylegan2
from rewrite.wrap import wrap

SMALL: dict[str, Any] = {
    "mobilestylegan": {"style": 8, "depth": 2, "channels": [8, 8, 4]},
    "dcgan": {"z": 4, "channels": [6, 4, 3]},
    "stylegan2": {"resolution": 8, "channels": [6, 4], "z": 5, "w": 6, "depth": 2, "classes": 3},
}


def made(family: str) -> Generator:
    module, generator = models.FAMILIES[family]
    torch.manual_seed(0)
    return generator(module(**SMALL[family]).eval().requires_grad_(False), card={"licence": "free"})


@pytest.mark.parametrize("family", SMALL)
def test_saving_and_loading_changes_no_bit(family: str, tmp_path: Path) -> None:
    G = made(family)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    models.save(G, one)
    again = models.load(one)
    models.save(again, two)
    assert one.read_bytes() == two.read_bytes()
    assert (again.name, again.architecture, again.card) == ("", family, {"licence": "free"})
    label = torch.tensor([1, 2]) if again.classes else None
    ws = G.styles(G.latents([1, 2]), label=label)
    assert torch.equal(again.synthesize(ws=ws), G.synthesize(ws=ws))
    assert list(again.layers) == list(G.layers)
    assert not again.module.training
    assert not any(p.requires_grad for p in again.module.parameters())


def test_what_is_baked_from_a_named_model_keeps_its_name(tmp_path: Path) -> None:
    named = replace(made("dcgan"), name="faces64")
    models.save(named, tmp_path / "baked.safetensors")
    assert models.load(tmp_path / "baked.safetensors").name == "faces64"


def test_what_was_baked_in_is_kept(tmp_path: Path) -> None:
    path, glasses, beard = (
        tmp_path / "x.safetensors",
        {"content": "g", "strength": 1},
        {"content": "b", "strength": 0.5},
    )
    models.save(made("dcgan"), path, history=[glasses])
    models.save(models.load(path), path, history=[beard])
    assert models.load(path).card == {"licence": "free", "history": [glasses, beard]}
    assert native.read(path).card == {"licence": "free"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"family": "vqgan"}, "family 'vqgan', which this version does not know"),
        ({"geometry": {"z": 4, "channels": [6, 5, 3]}}, "its geometry asks for"),
        ({"geometry": {"z": 4, "channels": [6, 4, 4, 3]}}, "lacks 5 of"),
        ({"geometry": {"z": 4, "channels": [6, 3]}}, "tensors that its geometry lacks"),
        ({"geometry": {"z": 4, "channels": [8192] * 9 + [3]}}, "lacks"),
        ({"geometry": {"z": 4, "channels": 3}}, "geometry that dcgan cannot have"),
        ({"geometry": {"depth": 4}}, "geometry that dcgan cannot have"),
        ({"geometry": {"z": True}}, "no DCGAN has z True"),
        ({"geometry": {"z": 4, "channels": [10**9, 3]}}, "no DCGAN has"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    G = made("dcgan")
    facts = {"family": "dcgan", "geometry": SMALL["dcgan"], "card": {}, "tensors": G.module.state_dict()}
    native.write(tmp_path / "x.safetensors", native.Checkpoint(**(facts | changes)))
    with pytest.raises(RewriteError, match=reason) as caught:
        models.load(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


def test_devices_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    models.save(made("dcgan"), tmp_path / "x.safetensors")
    for device in ("abacus", "cuda:99", "hpu"):
        with pytest.raises(RewriteError, match="there is no device"):
            models.load(tmp_path / "x.safetensors", device=device)


def test_a_wrapped_network_has_no_checkpoint(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 12), nn.Unflatten(1, (3, 2, 2)))
    with pytest.raises(RewriteError, match="no family that a checkpoint names"):
        models.save(wrap(module, latent=2, name="mine"), tmp_path / "x.safetensors")


def test_every_family_rebuilds_itself_from_its_geometry() -> None:
    for module in (
        mobilestylegan.MobileStyleGAN(**SMALL["mobilestylegan"]),
        dcgan.DCGAN(**SMALL["dcgan"]),
        stylegan2.StyleGAN2(clamp=2.0, **SMALL["stylegan2"]),
    ):
        again = type(module)(**module.geometry)
        assert again.geometry == module.geometry
        assert {n: t.shape for n, t in again.state_dict().items()} == {
            n: t.shape for n, t in module.state_dict().items()
        }


def test_a_device_that_keeps_no_numbers_is_an_error(tmp_path: Path) -> None:
    models.save(made("dcgan"), tmp_path / "x.safetensors")
    with pytest.raises(RewriteError, match="there is no device 'meta' here"):
        models.load(tmp_path / "x.safetensors", device="meta")


def test_a_card_names_only_models_of_the_zoo(tmp_path: Path) -> None:
    G = made("dcgan")
    models.save(replace(G, name="mine", card={"model": "mine"}), tmp_path / "mine.safetensors")
    assert models.load(tmp_path / "mine.safetensors").name == ""
