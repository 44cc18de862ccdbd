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


def test_conflict_of_many_is_a_picture(rewrite, folder, tmp_path):
    out, model = tmp_path / "new" / "matrix.png", folder / "tiny.safetensors"
    two = [folder / f"{name}.safetensors" for name in ("hat", "scarf")]
    sizes = []
    for three in ([], [folder / "gentle.safetensors"]):
        said = rewrite("conflict", model, *two, *three, "--matrix", out, "--json")
        assert json.loads(said.out)["matrix"] == str(out)
        sizes.append(Image.open(out).size)
    assert sizes[0][1] < sizes[1][1]
    said = rewrite("conflict", model, *two, "--matrix", two[0])
    assert said.code == 2
    assert "one file" in said.err
    edits.load(two[0])


def test_edits_are_called_by_their_files(rewrite, folder, tmp_path):
    """Also where two files have one name, and inside a composed edit."""
    model, hat, scarf, gentle = (folder / f"{name}.safetensors" for name in ("tiny", "hat", "scarf", "gentle"))
    both, twin = tmp_path / "both.safetensors", tmp_path / "gentle.safetensors"
    assert rewrite("compose", hat, scarf, "--out", both).code == 0
    twin.write_bytes(hat.read_bytes())
    digests = {path: edits.load(path).content[:8] for path in (hat, scarf, gentle)}
    facts = json.loads(rewrite("conflict", model, both, gentle, "--json").out)
    names = {f"both {digests[hat]}", f"both {digests[scarf]}", "gentle"}
    assert {party["name"] for party in facts["parties"]} == names
    facts = json.loads(rewrite("conflict", model, twin, gentle, "--json").out)
    names = {f"gentle {digests[hat]}", f"gentle {digests[gentle]}"}
    assert {party["name"] for party in facts["parties"]} == names


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
    for word in ("2 rules solved together", "loss in a sum", "background shift", "main.3", "hat", "correction"):
        assert word in shown.out
    assert rewrite("show", out).code == 0
    plain = rewrite("compose", hat, scarf, "--out", out)
    assert "loss" not in plain.out
    assert "correction" not in plain.out
    said = rewrite("compose", hat, scarf, "--out", hat)
    assert said.code == 2
    assert "one file" in said.err


def test_what_cannot_be_resolved_leaves_no_file(rewrite, folder, tmp_path):
    out = tmp_path / "none.safetensors"
    said = rewrite(
        "compose", "--resolve", folder / "tiny.safetensors", folder / "hat.safetensors", folder / "hat.safetensors",
        "--out", out,
    )  # fmt: skip
    assert said.code == 2
    assert "there twice" in said.err
    assert not out.exists()
