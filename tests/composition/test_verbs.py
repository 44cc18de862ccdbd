"""rewrite conflict, and rewrite compose --resolve."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import edits
from rewrite.cli import main
from rewrite.composition import resolve
from rewrite.models import dcgan, load, save
from rewrite.rules import rule


@pytest.fixture(scope="module")
def folder(tmp_path_factory, recipe_for):
    """A folder with a model, two rules that meet, and a gentle one."""
    path = tmp_path_factory.mktemp("verbs")
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=8, channels=[24, 12, 3]).eval().requires_grad_(False)
    save(dcgan.generator(module, name="tiny", card={"licence": "MIT", "origin": "a test"}), path / "tiny.safetensors")
    generator = load(path / "tiny.safetensors")
    for name, first, more in (("hat", 1, {}), ("scarf", 11, {}), ("gentle", 21, {"mu": 100.0})):
        rule(generator, recipe_for("main.3", first, **more)).save(path / f"{name}.safetensors")
    return path


@pytest.fixture
def rewrite(capfd):
    def run(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return SimpleNamespace(code=code, out=out, err=err)

    return run


def test_conflict_tells_figures_and_fails(rewrite, folder):
    model, hat, scarf = (folder / f"{name}.safetensors" for name in ("tiny", "hat", "scarf"))
    said = rewrite("conflict", model, hat, f"{scarf}:0.5", "--measure", "--json")
    assert said.code == 1
    facts = json.loads(said.out)
    assert {party["name"]: party["strength"] for party in facts["parties"]} == {"hat": 1.0, "scarf": 0.5}
    assert facts["verdict"]["level"] == "conflict"
    names = {party["content"]: i for i, party in enumerate(facts["parties"])}
    for kept in facts["retention"]:
        if len(kept["under"]) == 2:
            assert 1 - kept["retention"] == pytest.approx(facts["losses_in_sum"][names[kept["content"]]], abs=0.02)
    shown = rewrite("conflict", model, hat, f"{scarf}:0.5", "--measure")
    assert shown.code == 1
    for word in ("conflict", "hat", "scarf", "resolve", "main.3", "condition number", "retention", "float32"):
        assert word in shown.out
    assert shown.err == ""


def test_conflict_of_what_is_fine_succeeds_and_shows_images(rewrite, folder, tmp_path):
    sheet = tmp_path / "sheets" / "sheet.png"
    said = rewrite(
        "conflict", folder / "tiny.safetensors", folder / "gentle.safetensors", "--preview", sheet,
        "--preview-seeds", "1,2",
    )  # fmt: skip
    assert said.code == 0, said
    assert "a plain sum will do" in said.out
    assert Image.open(sheet).height > 3 * 192


def test_conflict_of_other_weights_is_an_error(rewrite, folder, tmp_path):
    torch.manual_seed(1)
    module = dcgan.DCGAN(z=8, channels=[24, 12, 3]).eval().requires_grad_(False)
    save(dcgan.generator(module, name="other"), tmp_path / "other.safetensors")
    said = rewrite("conflict", tmp_path / "other.safetensors", folder / "hat.safetensors", folder / "scarf.safetensors")
    assert said.code == 2
    assert said.err.startswith("rewrite: main.3.weight")
    assert said.out == ""


def test_compose_resolves(rewrite, folder, tmp_path, packed):
    out = tmp_path / "both.safetensors"
    model, hat, scarf = (folder / f"{name}.safetensors" for name in ("tiny", "hat", "scarf"))
    said = rewrite("compose", "--resolve", model, f"{scarf}:0.5", hat, "--out", out, "--json")
    assert said.code == 0
    both = edits.load(out)
    assert json.loads(said.out)["notes"] == both.notes
    pairs = [(edits.load(hat), None), (edits.load(scarf), 0.5)]
    assert packed(both) == packed(resolve(load(model), pairs))
    shown = rewrite("compose", "--resolve", model, hat, scarf, "--out", out)
    for word in ("2 rules solved together", "loss in a sum", "background shift", "main.3"):
        assert word in shown.out
    assert rewrite("show", out).code == 0
    plain = rewrite("compose", hat, scarf, "--out", out)
    assert "loss" not in plain.out


def test_what_cannot_be_resolved_leaves_no_file(rewrite, folder, tmp_path):
    out = tmp_path / "none.safetensors"
    said = rewrite(
        "compose", "--resolve", folder / "tiny.safetensors", folder / "hat.safetensors", folder / "hat.safetensors",
        "--out", out,
    )  # fmt: skip
    assert said.code == 2
    assert "there twice" in said.err
    assert not out.exists()
