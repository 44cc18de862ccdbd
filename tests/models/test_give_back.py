"""A generator's weights go back into the kind of file that it came from, and come out of it again."""

import argparse
import io
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.models import load, save
from rewrite.models.give_back import give_back

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoints"))
from layouts import nvidia

KERNEL, STRENGTH = "synthesis.b8.conv0.weight", "synthesis.b8.conv1.noise_strength"


def rosinality(seed: int) -> dict[str, Tensor]:
    """A StyleGAN2 at 8 px as rosinality's code names its tensors."""
    theirs = nvidia.stylegan2(seed, z=5)
    found = {"input.input": theirs["synthesis.b4.const"][None]}
    for i in range(2):
        found |= {f"style.{i + 1}.{part}": theirs[f"mapping.fc{i}.{part}"] for part in ("weight", "bias")}
    pairs = {"b4.conv1": "conv1", "b8.conv0": "convs.0", "b8.conv1": "convs.1"}
    for j, (ours, path) in enumerate([*pairs.items(), ("b4.torgb", "to_rgb1"), ("b8.torgb", "to_rgbs.0")]):
        layer = {
            name.removeprefix(f"synthesis.{ours}."): tensor for name, tensor in theirs.items() if f".{ours}." in name
        }
        found[f"{path}.conv.weight"] = layer["weight"][None]
        found |= {f"{path}.conv.modulation.{part}": layer[f"affine.{part}"] for part in ("weight", "bias")}
        if "torgb" in ours:
            found[f"{path}.bias"] = layer["bias"][None, :, None, None]
        else:
            found |= {f"{path}.activate.bias": layer["bias"], f"{path}.noise.weight": layer["noise_strength"][None]}
            found[f"noises.noise_{j}"] = layer["noise_const"][None, None]
    return found


def kinds() -> dict[str, bytes]:
    files = {"net.pkl": nvidia.snapshot()}
    value = {"g_ema": rosinality(3), "latent_avg": torch.ones(5), "args": argparse.Namespace(size=8)}
    for name, new in (("net.pt", True), ("old.pt", False)):
        content = io.BytesIO()
        torch.save(value, content, _use_new_zipfile_serialization=new)
        files[name] = content.getvalue()
    return files


@pytest.fixture(params=list(kinds()))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    path.write_bytes(kinds()[request.param])
    return path


def edited(source: Path, name: str, change: Tensor | float) -> Generator:
    generator = load(source)
    generator.module.state_dict()[name].add_(change)
    return generator


def test_weights_survive_the_way_there_and_back(source: Path) -> None:
    torch.manual_seed(0)
    generator = edited(source, KERNEL, torch.randn(4, 4, 3, 3))
    changed = give_back(generator, source, out := source.with_name("out"))
    assert len(changed) == 1
    assert out.stat().st_size == source.stat().st_size
    again = load(out)
    for name, tensor in generator.module.state_dict().items():
        assert torch.equal(again.module.state_dict()[name], tensor), name
    z = generator.latents([1, 2])
    assert torch.equal(again.synthesize(z), generator.synthesize(z))


def test_an_unchanged_generator_gives_the_very_file(source: Path) -> None:
    assert give_back(load(source), source, out := source.with_name("out")) == []
    assert out.read_bytes() == source.read_bytes()


def test_one_number_for_all_channels_stays_one(source: Path) -> None:
    out = source.with_name("out")
    assert len(give_back(edited(source, STRENGTH, 0.5), source, out)) == 1
    uneven = edited(source, STRENGTH, torch.arange(4.0))
    with pytest.raises(RewriteError, match="one number for all channels"):
        give_back(uneven, source, source.with_name("none"))
    assert not source.with_name("none").exists()


def test_other_files_are_refused(source: Path) -> None:
    generator = load(source)
    save(generator, ours := source.with_name("ours.safetensors"))
    with pytest.raises(RewriteError, match="no checkpoint of another program"):
        give_back(generator, ours, source.with_name("out"))
    wider = source.with_name("wider")
    wider.write_bytes(nvidia.dumps(nvidia.network(nvidia.stylegan2(0, resolution=16))))
    with pytest.raises(RewriteError, match="not what this generator was loaded from"):
        give_back(generator, wider, source.with_name("out"))
