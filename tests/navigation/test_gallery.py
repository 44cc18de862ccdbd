"""The command, from a model to a folder of directions; the page holds its pictures and its edits."""

from __future__ import annotations

import base64
import json
import re

import pytest
import torch

import edits
import rewrite
from rewrite.cli import main
from rewrite.models import dcgan, save, sngan
from rewrite.navigation import methods


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=8, channels=[8, 6, 3]).eval().requires_grad_(False)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(dcgan.generator(module, name="tiny", card={"licence": "MIT", "origin": "a test"}), path)
    return path


def run(model, out, *more, layer="main.3"):
    asked = [
        "navigate", str(model), "--layer", layer, "--out", str(out), "--count", "2", "--net", "pixels",
        "--eye", "none", "--calibrate-on", "0-3", "--latents", "4", "--image-size", "16", "--json", *more,
    ]  # fmt: skip
    return main(asked)


def test_a_search_leaves_a_page_the_edits_and_the_figures(model, tmp_path, capfd):
    assert run(model, tmp_path / "out", "--method", "hessian", "--gif", "--strips", "--strengths", "-1,0,1") == 0
    said = json.loads(capfd.readouterr().out)
    kept = json.loads((tmp_path / "out" / "gallery.json").read_text())
    assert [one["content"] for one in said["directions"]] == [one["content"] for one in kept["directions"]]
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"https?:", page)
    held = re.findall(r'href="data:application/octet-stream;base64,([^"]+)" download="([^"]+)"', page)
    generator = rewrite.load(model)
    assert len(held) == len(kept["directions"]) >= 1
    for (content, name), facts in zip(held, kept["directions"], strict=True):
        beside = tmp_path / "out" / "edits" / name
        assert base64.b64decode(content) == beside.read_bytes()
        edit = edits.load(beside)
        assert edit.content == facts["content"]
        assert edit.strength == 1
        assert edit.notes["calibration"]["target"] == facts["calibration"]["target"]
        assert edit.recipe["direction"]["method"] == "hessian"
        images = generator.synthesize(generator.latents(range(4)))
        measured = []
        for strength in (1.0, -1.0):
            with edits.applied(generator.module, (edit, strength)):
                moved = generator.synthesize(generator.latents(range(4)))
            measured.append(float((moved - images).square().mean()))
        assert sum(measured) / 2 == pytest.approx(facts["calibration"]["target"], rel=0.03)
        assert (tmp_path / "out" / facts["files"]["animation"]).read_bytes().startswith(b"GIF8")
        assert (tmp_path / "out" / facts["files"]["strip"]).read_bytes().startswith(b"\x89PNG")


def test_a_strength_asked_for_twice_is_shown_once(model, tmp_path):
    for name, strengths in (("once", "1,0"), ("twice", "1,1,0,1")):
        assert run(model, tmp_path / name, "--method", "spectrum", "--strips", "--strengths", strengths) == 0
    once, twice = (sorted((tmp_path / name).glob("*.png")) for name in ("once", "twice"))
    assert [one.read_bytes() for one in once] == [one.read_bytes() for one in twice] != []


def test_a_move_to_a_place_is_shown_where_it_is_one(model, tmp_path):
    asked = ["--with", "form=projective", "--strengths", "-1,2", "--gif", "--strips"]
    assert run(model, tmp_path / "out", "--method", "sefa", *asked, layer="main.0") == 0
    assert "strengths 0, 1" in (tmp_path / "out" / "gallery.html").read_text()


def test_a_place_that_cannot_hold_a_folder_is_told_before_the_search(model, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(methods, "method", lambda _: pytest.fail)
    (tmp_path / "file").write_text("what it holds")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        assert run(model, out, "--method", "spectrum") == 2
        assert "no folder" in capfd.readouterr().err
    assert (tmp_path / "file").read_text() == "what it holds"
    (tmp_path / "edits").write_text("no folder")
    assert run(model, tmp_path, "--method", "spectrum") == 2
    assert "edits' is no folder" in capfd.readouterr().err


def test_a_conditional_model_is_held_at_a_class(tmp_path, capfd):
    module = sngan.SNGAN.random(0, z=8, side=3, channels=[12, 8], classes=4)
    save(sngan.generator(module, name="some"), tmp_path / "some.safetensors")
    assert run(tmp_path / "some.safetensors", tmp_path / "out", "--method", "hessian") == 2
    assert "--class 0 to 3" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--method", "hesian"], "nearest: hessian"),
        (["--method", "spectrum", "--with", "steps"], "KEY=VALUE"),
        (["--method", "concept"], "needs a place"),
        (["--method", "concept", "--region", "0.5,0,0.1,1"], "x0 < x1"),
    ],
)
def test_refusals_leave_nothing(model, tmp_path, capfd, more, words):
    assert run(model, tmp_path / "out", *more) == 2
    assert words in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
