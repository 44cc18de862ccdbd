"""rewrite audit: a page and figures, with concepts and without, before and after an edit."""

from __future__ import annotations

import csv
import json
import re

import pytest

import edits

COLOURS = """
def colours(images):
    return images

colours.classes = ("red", "green", "blue")
"""
FEW = ("--samples", "24", "--choose", "16")


@pytest.fixture
def segmenter(tmp_path, monkeypatch):
    (tmp_path / "coloured.py").write_text(COLOURS)
    monkeypatch.chdir(tmp_path)
    return "coloured:colours"


def data(page: str):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_units_are_beside_concepts_on_a_page_and_in_figures(rewrite, tiny, segmenter, tmp_path):
    out = tmp_path / "a"
    said = rewrite("audit", tiny, *FEW, "--segmenter", segmenter, "--cause-samples", "8", "--out", out, "--json")
    assert said.code == 0, said.err
    figures = json.loads((out / "audit.json").read_text())
    assert figures["settings"]["segmenter"] == segmenter
    assert figures["concepts"] == ["red", "green", "blue"]
    assert said.facts["settings"] == figures["settings"]
    assert [layer["concepts"] for layer in said.facts["layers"]] == [layer["concepts"] for layer in figures["layers"]]
    units = data((out / "index.html").read_text())["units"]
    assert len(units) == sum(len(layer["units"]) for layer in figures["layers"])
    lines = list(csv.DictReader((out / "units.csv").open()))
    assert len(lines) == len(units)
    meant = {figures["concepts"].index(u["meaning"]["concept"]) for layer in figures["layers"]
             for u in layer["units"] if u["meaning"]["holds"]}  # fmt: skip
    measured = [unit for unit in units if unit["removed"] is not None]
    assert len(measured) == len(meant)
    assert [line["removed"] for line in lines if line["removed"]] == [f"{unit['removed']:g}" for unit in measured]
    assert len(list(csv.DictReader((out / "areas.csv").open()))) == 3


def test_with_an_edit_every_figure_is_there_twice(rewrite, tiny, segmenter, tmp_path):
    silence, out = tmp_path / "silence.safetensors", tmp_path / "a"
    rewrite("units", "ablate", tiny, "--layer", "main.3", "--units", "2", "--out", silence)
    said = rewrite(
        "audit", tiny, *FEW, "--segmenter", segmenter, "--cause", "0", "--edit", silence, "--out", out, "--json"
    )
    assert said.code == 0, said.err
    first = said.facts["changed"][0]
    assert (first["layer"], first["unit"]) == ("main.3", 2)
    assert said.facts["edits"] == [{"content": edits.load(silence).content, "strength": 1.0}]
    page = (out / "index.html").read_text()
    found = data(page)
    assert found["edited"]
    assert "silence at 1" in page
    assert all(unit["after"] for unit in found["units"])
    changed = [unit for unit in found["units"] if found["layers"][unit["at"]] == "main.3" and unit["unit"] == 2]
    assert changed[0]["after"]["on"] == 0
    assert changed[0]["shots"]
    assert not changed[0]["editedShots"]
    lines = {(line["layer"], line["unit"]): line for line in csv.DictReader((out / "units.csv").open())}
    assert float(lines["main.3", "2"]["edited iou red"]) == 0
    shown = rewrite("audit", tiny, *FEW, "--segmenter", segmenter, "--cause", "0", "--edit", silence, "--out", out)
    assert "red" in shown.out


def test_an_edit_of_a_library_is_called_as_its_folder(rewrite, tiny, tmp_path):
    entry = tmp_path / "no-spires" / "edit.safetensors"
    rewrite("units", "ablate", tiny, "--layer", "main.3", "--units", "2", "--out", entry)
    assert rewrite("audit", tiny, *FEW, "--pictures", "0", "--edit", entry, "--out", tmp_path / "a").code == 0
    assert "no-spires at 1" in (tmp_path / "a" / "index.html").read_text()


def test_without_a_segmenter_it_says_so(rewrite, tiny, tmp_path):
    said = rewrite("audit", tiny, *FEW, "--layer", "main.0,main.3", "--pictures", "3", "--out", tmp_path / "a")
    assert said.code == 0
    assert "no segmenter" in said.err
    page = (tmp_path / "a" / "index.html").read_text()
    assert "No segmenter was given" in page
    found = data(page)
    assert found["layers"] == ["main.0", "main.3"]
    assert 0 < len(found["pictures"]) <= 3
    assert not (tmp_path / "a" / "areas.csv").exists()


def test_the_same_audit_is_the_same_files(rewrite, tiny, segmenter, tmp_path, monkeypatch):
    asked = ("audit", tiny, *FEW, "--segmenter", segmenter, "--cause-samples", "8", "--out")
    rewrite(*asked, tmp_path / "a")
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "another"))
    rewrite(*asked, tmp_path / "b")
    for name in ("index.html", "audit.json", "units.csv", "areas.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_an_interrupted_audit_goes_on(rewrite, tiny, segmenter, tmp_path, monkeypatch):
    from rewrite.units import cause, make, scores

    monkeypatch.setattr("rewrite.units.features.MOST", 8)
    whole, again = tmp_path / "whole", tmp_path / "again"
    asked = ("audit", tiny, *FEW, "--segmenter", segmenter, "--cause-samples", "8", "--out")
    assert rewrite(*asked, whole).code == 0
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "another"))

    def stopping(function, after):
        calls = iter(range(100))

        def stops(*given, **more):
            if next(calls) == after:
                raise KeyboardInterrupt
            return function(*given, **more)

        return stops

    for module, name, after in ((scores, "one_hot", 2), (cause, "one_hot", 1), (make, "thresholds", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, stopping(getattr(module, name), after))
            said = rewrite(*asked, again)
        assert said.code == 130
        assert not again.exists()
    assert rewrite(*asked, again).code == 0
    for name in ("index.html", "audit.json", "units.csv"):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


def test_what_cannot_be_audited_is_one_sentence(rewrite, tiny, edit, tmp_path):
    out = tmp_path / "a"
    rewrite("audit", tiny, "--segmenter", "seens", "--out", out).failed_with("no segmenter 'seens'")
    rewrite("audit", tiny, "--layer", "main.9", "--out", out).failed_with("no layer")
    rewrite("audit", tiny, "--protocol", "disect", "--out", out).failed_with("no protocol")
    rewrite("audit", tiny, "--groups", tmp_path / "g.yaml", "--out", out).failed_with("none was given")
    rewrite("audit", tiny, "--out", edit).failed_with("no folder")
    rewrite("audit", tiny, "--out", edit / "deep" / "down").failed_with("no folder")
    assert not out.exists()
