"""rewrite library: exit codes that mean a verdict, and one sentence where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edits
from rewrite.errors import Absent, RewriteError
from rewrite.models import stylegan2

RECIPE = """\
model: toy
layer: synthesis.b16.conv1
copy: {seed: 1, box: [0.2, 0.2, 0.7, 0.6]}
paste: [{seed: 2, box: [0.2, 0.2, 0.7, 0.6]}]
rank: 2
mu: 0.1
nu: 0.1
samples: 16
"""
FEW = ("--samples", "8")


@pytest.fixture(scope="module")
def toy():
    module = stylegan2.StyleGAN2.random(5, resolution=32, channels=(16, 16, 16, 8), z=16, w=16, depth=2)
    return stylegan2.generator(module, name="toy", card={"licence": "MIT", "origin": "a test"})


@pytest.fixture(autouse=True)
def _toy_is_a_model(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(_voice, model: str, _device: str = "cpu"):
        if model == "far":
            raise Absent("pip could not download far 1.0")
        if model != "toy":
            raise RewriteError(f"there is no model {model!r}")
        return toy

    monkeypatch.setattr("rewrite.cli.library.opened", opened)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "library"


@pytest.fixture
def filled(rewrite, shelf: Path) -> Path:
    waive = "harm,tone,effect,outside,change outside"
    recipe = shelf.with_name("recipe.yaml")
    box = ("--region", "0.2,0.2,0.7,0.6")
    said = rewrite("library", "add", "toy/patch", "--recipe", recipe, *FEW, *box, "--waive", waive, "--at", shelf)
    assert said.code == 0, said.err
    assert "kept" in said.out
    return shelf


def test_what_is_kept_is_listed_shown_built_and_verified(rewrite, filled: Path, tmp_path: Path) -> None:
    [listed] = rewrite("library", "list", "--json", "--at", filled).facts
    assert listed["name"] == "toy/patch"
    assert listed["shipped"] is True
    assert "toy/patch" in rewrite("library", "list", "--at", filled).out
    shown = rewrite("library", "show", "toy/patch", "--at", filled)
    assert RECIPE.strip() in shown.out
    assert listed["content"] in shown.out
    assert rewrite("library", "show", "toy/patch", "--json", "--at", filled).facts == listed
    out = tmp_path / "new" / "patch.safetensors"
    assert rewrite("library", "build", "toy/patch", "--out", out, "--at", filled).code == 0
    assert out.read_bytes() == (filled / "toy/patch/edit.safetensors").read_bytes()
    assert edits.load(out).content == listed["content"]
    for how in ((), ("toy",), ("toy/patch", "--quick"), ("toy", "--samples", "10")):
        said = rewrite("library", "verify", *how, "--json", "--at", filled)
        assert said.code == 0, said.out
        [found] = said.facts["entries"]
        assert found["outcome"] == said.facts["outcome"] == "PASS"
        assert found["apart"] == 0
        assert (found["findings"] is None) == ("--quick" in how)


def test_a_spoiled_entry_is_1(rewrite, filled: Path) -> None:
    (filled / "toy/patch/recipe.yaml").write_text(RECIPE.replace("0.1", "0.2"))
    said = rewrite("library", "verify", "--at", filled)
    assert said.code == 1
    assert "recipe.yaml is not the file that the manifest pins" in said.out
    rewrite("library", "build", "toy/patch", "--out", filled / "e.safetensors", "--at", filled).failed_with(
        "recipe.yaml"
    )
    assert not (filled / "e.safetensors").exists()


def test_undecided_is_3(rewrite, filled: Path) -> None:
    """Bounds that lie inside an interval, everything pinned anew."""
    import hashlib

    found = rewrite("library", "verify", "--json", "--at", filled).facts["entries"][0]["findings"]["effect"]
    bounds, manifest = filled / "toy/patch/bounds.json", filled / "manifest.json"
    facts, pinned = json.loads(bounds.read_text()), json.loads(manifest.read_text())
    facts["limits"] = pinned["entries"]["toy/patch"]["limits"] = {"effect": {"least": found["value"]}}
    bounds.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    pinned["entries"]["toy/patch"]["files"]["bounds.json"] = hashlib.sha256(bounds.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(pinned, indent=1, sort_keys=True) + "\n")
    said = rewrite("library", "verify", "--at", filled)
    assert said.code == 3, said.out
    assert "effect is" in said.out


def test_what_is_refused_has_its_exit_code_and_leaves_nothing(rewrite, shelf: Path) -> None:
    said = rewrite("library", "add", "toy/patch", "--recipe", shelf.with_name("recipe.yaml"), *FEW, "--at", shelf)
    assert said.code in (1, 3)
    assert "refused: " in said.out
    assert not shelf.exists()


def test_one_sentence_for_what_cannot_be(rewrite, filled: Path) -> None:
    recipe = filled.with_name("recipe.yaml")
    at = ("--at", filled)
    rewrite("library", "show", "toy/pitch", *at).failed_with("there is no entry 'toy/pitch'", "nearest: toy/patch")
    rewrite("library", "verify", "faces", *at).failed_with("there is no entry 'faces'")
    rewrite("library", "add", "toy/patch", "--recipe", recipe, *FEW, *at).failed_with("has toy/patch already")
    rewrite("library", "add", "ffhq/x", "--recipe", recipe, *FEW, *at).failed_with("there is no model 'ffhq'")
    rewrite("library", "add", "toy/x", "--recipe", recipe, "--region", "0,1", *FEW, *at).failed_with("region")
    rewrite("library", "add", "toy/x", "--recipe", recipe, "--concept", "dome", *FEW, *at).failed_with("segmenter")
    rewrite("library", "add", "toy/x", "--recipe", recipe.with_name("no.yaml"), *at).failed_with(
        "no.yaml cannot be read"
    )
    rewrite("library", "list", "--at", recipe).failed_with("is no folder")


def test_a_model_that_cannot_be_had(rewrite, filled: Path) -> None:
    manifest = filled / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"toy/patch"', '"gone/patch"'))
    (filled / "toy").rename(filled / "gone")
    rewrite("library", "verify", "--at", filled).failed_with("there is no model 'gone'")
    rewrite("library", "verify", "--skip-absent", "--at", filled).failed_with("there is no model 'gone'")
    manifest.write_text(manifest.read_text().replace('"gone/patch"', '"far/patch"'))
    (filled / "gone").rename(filled / "far")
    rewrite("library", "verify", "--at", filled).failed_with("could not download far")
    said = rewrite("library", "verify", "--skip-absent", "--json", "--quiet", "--at", filled)
    assert said.code == 0
    assert "far is passed over: pip could not download far" in said.err
    assert said.facts["entries"][0]["outcome"] is None
