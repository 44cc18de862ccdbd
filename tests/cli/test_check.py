"""rewrite check: exit codes that mean a verdict, a page and a file that say why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import edits
from edits.identity import describe
from rewrite.models import save, stylegan2

FEW = ("--samples", "16", "--cap", "16")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with toy.safetensors, whose images are large enough to be looked at, and two edits of it."""
    folder = tmp_path_factory.mktemp("model")
    module = stylegan2.StyleGAN2.random(5, resolution=32, channels=(16, 16, 16, 8), z=16, w=16, depth=2)
    save(
        stylegan2.generator(module, name="toy", card={"licence": "MIT", "origin": "a test"}), folder / "toy.safetensors"
    )
    name = "synthesis.b16.conv1.weight"
    weight = module.state_dict()[name]
    drawn = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    for called, size in (("slight", 0.001), ("gross", 1.0)):
        add = edits.Add(tuple(weight.shape), edits.Dense(drawn * weight.std() * size))
        edits.Edit({name: (add,)}, describe(module, [name])).save(folder / f"{called}.safetensors")
    return folder


@pytest.mark.parametrize(("edit", "code", "outcome"), [("slight", 0, "PASS"), ("gross", 1, "FAIL")])
def test_the_exit_code_is_the_verdict(rewrite, model: Path, tmp_path: Path, edit: str, code: int, outcome: str) -> None:
    said = rewrite(
        "check", model / "toy.safetensors", model / f"{edit}.safetensors", *FEW, "--out", tmp_path / "v", "--json"
    )
    assert said.code == code, said.err
    assert said.facts["outcome"] == outcome
    stored = json.loads((tmp_path / "v" / "verdict.json").read_text())
    assert stored == {key: value for key, value in said.facts.items() if key != "out"}
    page = (tmp_path / "v" / "index.html").read_text()
    assert outcome in page
    assert page.count("<img") == 2
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_undecided_is_3(rewrite, model: Path, tmp_path: Path) -> None:
    edit = model / "gross.safetensors"
    found = rewrite("check", model / "toy.safetensors", edit, *FEW, "--out", tmp_path / "v", "--json").facts
    middle = {"format": 1, "limits": {"effect": {"most": found["findings"]["effect"]["value"]}}}
    (tmp_path / "limits.json").write_text(json.dumps(middle))
    said = rewrite(
        "check", model / "toy.safetensors", edit, *FEW, "--bounds", tmp_path / "limits.json", "--out", tmp_path / "w"
    )
    assert said.code == 3
    assert "MORE" in said.out


def test_bounds_are_written_beside_the_edit_and_hold(rewrite, model: Path, tmp_path: Path) -> None:
    edit = tmp_path / "gross.safetensors"
    edit.write_bytes((model / "gross.safetensors").read_bytes())
    first = rewrite("check", model / "toy.safetensors", edit, *FEW, "--out", tmp_path / "v", "--write-bounds")
    assert first.code == 1
    bounds = tmp_path / "bounds.json"
    assert json.loads(bounds.read_text())["edit"] == edits.load(edit).content
    again = rewrite("check", model / "toy.safetensors", edit, *FEW, "--out", tmp_path / "w", "--bounds", bounds)
    assert again.code == 0, again.out
    before = bounds.read_bytes()
    looser = rewrite("check", model / "toy.safetensors", edit, *FEW, "--out", tmp_path / "y", "--write-bounds")
    looser.failed_with("is there already")
    assert bounds.read_bytes() == before
    half = rewrite("check", model / "toy.safetensors", f"{edit}:0.5", *FEW, "--out", tmp_path / "x", "--bounds", bounds)
    half.failed_with("strengths [1.0], and this check has [0.5]")


def test_a_region_adds_what_happened_outside_of_it(rewrite, model: Path, tmp_path: Path) -> None:
    said = rewrite(
        "check", model / "toy.safetensors", model / "gross.safetensors", *FEW,
        "--region", "0.25,0.25,0.75,0.75", "--out", tmp_path / "v", "--json",
    )  # fmt: skip
    assert {"outside", "change outside"} <= set(said.facts["findings"])
    assert said.facts["conditions"]["place"] == "box 0.25,0.25,0.75,0.75"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--region", "0.5,0.5,0.1,0.1"), "is no box"),
        (("--region", "a,b,c,d"), "no finite number"),
        (("--region", "nowhere.png"), "cannot be read"),
        (("--concept", "window"), "--segmenter"),
        (("--region", "0,0,1,1", "--concept", "window"), "give one of them"),
        (("--segmenter", "facets"), "nearest: faces"),
        (("--eye", "lite1"), "nearest: lite0"),
        (("--distance", "lpips-alexa"), "nearest: lpips-alex"),
        (("--bounds", "nowhere.json"), "cannot be read"),
        (("--samples", "4"), "--samples"),
    ],
)
def test_what_cannot_be_checked_is_said_before_any_work(
    rewrite, model: Path, tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    said = rewrite("check", model / "toy.safetensors", model / "slight.safetensors", *words, "--out", tmp_path / "v")
    said.failed_with(reason)
    assert not (tmp_path / "v").exists()
