"""Files of other programs at the command: what they are, whether they carry code, and how they come back."""

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

import edits
from edits.identity import describe
from rewrite.models import load

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoints"))
from layouts import nvidia

ONE = torch.ones(1)
HEAD = "synthesis.b8.torgb.bias"


def zipped(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return content.getvalue()


def tar() -> bytes:
    return b"model.pt".ljust(257, b"\0") + b"ustar" + bytes(250)


ODD = {
    "a text": (b"Dear reader,\nhere are the weights.\n", "is a text"),
    "a poem": ("Über allen Gipfeln ist Ruh".encode() * 500, "is a text"),
    "a zip of pictures": (zipped("img/00.png", "img/01.jpg", "dataset.json"), "3 pictures, as data sets come"),
    "a zip with a checkpoint": (zipped("readme.txt", "model/net.pkl"), "'model/net.pkl' in it; unpack it"),
    "a zip of other things": (zipped("a.py", "b.py"), "2 other files"),
    "an empty zip": (zipped(), "an empty zip"),
    "nothing": (b"", "is empty; the download may have failed"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "a web page": (b"<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>", "a web page"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a picture (PNG)"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "gunzip"),
    "a tar archive": (tar(), "a tar archive"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    "a language model": (b"GGUF" + bytes(50), "GGUF"),
    "JSON": (json.dumps({"z_dim": 512}).encode(), "JSON text"),
    "noise": (bytes(np.random.RandomState(0).randint(128, 255, 5000, dtype=np.uint8)), "no format known here"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_files_get_a_sentence(rewrite, kind: str, tmp_path: Path) -> None:
    (tmp_path / "file.pkl").write_bytes(ODD[kind][0])
    rewrite("inspect", tmp_path / "file.pkl").failed_with("file.pkl is ", ODD[kind][1])


def test_a_folder_gets_one_too(rewrite, tmp_path: Path) -> None:
    rewrite("inspect", tmp_path).failed_with("is a folder without a checkpoint")
    (tmp_path / "unet.safetensors").touch()
    (tmp_path / "model_index.json").touch()
    rewrite("inspect", tmp_path).failed_with("folder of a diffusers pipeline")


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (
            ["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight"],
            "Stable Diffusion",
        ),
        (["down_blocks.0.resnets.0.conv1.weight", "mid_block.attentions.0.proj_in.weight"], "a UNet of diffusers"),
        (["decoder.conv_in.weight", "encoder.conv_in.weight"], "a VAE"),
        (["transformer_blocks.0.attn.to_q.weight"], "a diffusion transformer"),
        (["base_model.model.a.lora_A.weight", "base_model.model.a.lora_B.weight"], "`rewrite import`"),
        (["model.layers.0.self_attn.q_proj.weight", "lm_head.weight"], "a language model"),
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], "a ResNet"),
        (["b8.conv0.weight", "b4.out.weight"], "a discriminator"),
        (["something.weight"], "rewrite.Generator.wrap"),
    ],
)
def test_networks_of_no_family_are_named(rewrite, names: list[str], what: str, tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(save({name: ONE.clone() for name in names}))
    facts = rewrite("inspect", tmp_path / "net.safetensors", "--json").facts["file"]
    assert (facts["container"], facts["family"], facts["code"]) == ("safetensors", None, [])
    assert facts["unexplained"]["tensors"] == sorted(names)
    assert what in facts["otherwise"]
    shown = rewrite("inspect", tmp_path / "net.safetensors").out
    assert "none: " in shown
    assert "none: it holds data alone" in shown


def test_an_nvidia_snapshot_is_shown_with_its_layers_and_its_code(rewrite, tmp_path: Path) -> None:
    (tmp_path / "net.pkl").write_bytes(nvidia.snapshot())
    facts = rewrite("inspect", tmp_path / "net.pkl", "--json").facts
    file = facts["file"]
    assert (file["container"], file["family"], file["chosen"]) == ("pickle", "stylegan2", "G_ema")
    assert [one["name"] for one in file["networks"]] == ["G", "D", "G_ema"]
    assert "Python source" in file["code"][0]
    assert facts["resolution"] == 8
    shown = rewrite("inspect", tmp_path / "net.pkl").out
    for words in ("pickle of protocol 4", "G_ema was chosen by its name", "none of it was run", "synthesis.b8.conv1"):
        assert words in shown, shown


def test_harm_is_named(rewrite, tmp_path: Path) -> None:
    (tmp_path / "net.pkl").write_bytes(b"\x80\x04cos\nsystem\nX\x05\x00\x00\x00touch\x85R.")
    rewrite("inspect", tmp_path / "net.pkl").failed_with("would call os.system", "nothing of it was run")


@pytest.fixture
def tinted(tmp_path: Path) -> Path:
    """net.pkl, and an edit of it that adds to its last bias."""
    (tmp_path / "net.pkl").write_bytes(nvidia.snapshot())
    module = load(tmp_path / "net.pkl").module
    change = edits.Edit(
        {HEAD: (edits.Add((3,), edits.Dense(torch.tensor([0.5, 0.0, 0.0]))),)}, describe(module, [HEAD])
    )
    change.save(tmp_path / "tint.safetensors")
    return tmp_path


def test_an_edit_comes_back_in_the_same_kind_of_file(rewrite, tinted: Path) -> None:
    source, out = tinted / "net.pkl", tinted / "edited.pkl"
    said = rewrite("apply", source, tinted / "tint.safetensors", "--out", out, "--json")
    assert said.facts["changed"] == [HEAD]
    before, after = source.read_bytes(), out.read_bytes()
    assert len(before) == len(after)
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= 4
    seen = nvidia.loads(after)
    expected = nvidia.stylegan2(1)[HEAD] + torch.tensor([0.5, 0.0, 0.0])
    assert torch.equal(seen["G_ema"].state_dict()[HEAD], expected)
    assert torch.equal(seen["G"].state_dict()[HEAD], nvidia.stylegan2(0)[HEAD])
    ours = tinted / "edited.safetensors"
    rewrite("apply", source, tinted / "tint.safetensors", "--out", ours)
    assert torch.equal(load(out).module.state_dict()[HEAD], load(ours).module.state_dict()[HEAD])


def test_another_kind_of_file_is_refused(rewrite, tinted: Path, tiny: Path) -> None:
    edit = tinted / "tint.safetensors"
    rewrite("apply", tinted / "net.pkl", edit, "--out", tinted / "x.pt").failed_with("there is no layout to keep")
    rewrite("apply", tiny, edit, "--out", tinted / "x.pkl", "--force").failed_with()
    assert not (tinted / "x.pt").exists()
    assert not (tinted / "x.pkl").exists()
