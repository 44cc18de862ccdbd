"""Rules, unit edits, directions and sums of them: each is made from its file, judged and spoiled like the rest."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest
import torch
import yaml

import edits
from edits.file import pack
from rewrite.errors import RewriteError
from rewrite.library import Library, add, opened, verify
from rewrite.library.make import KINDS, file_of, make
from rewrite.progress import quiet
from rewrite.threads import threads

from .conftest import EVERYTHING, RULE

LAYER = "synthesis.b16.conv1"
UNITS = f"model: toy\nlayer: {LAYER}\nunits: [3, 7]\nchange: ablate\n"
DIRECTION = "model: toy\ndirection: {method: sefa, index: 1, count: 2, net: pixels, calibrate_on: [0, 1]}\n"
KERNEL = f"""\
model: toy
direction: {{method: spectrum, layers: [{LAYER}], index: 1, count: 2, latents: 4, net: pixels, calibrate_on: [0, 1]}}
strength: 1.5
"""
TRIO = "model: toy\nmembers: {way: 0.5, rule: 1, units: 1}\n"
FILES = {
    "rule": ("recipe.yaml", RULE.format(paste=2, mu=0.1)),
    "units": ("units.yaml", UNITS),
    "way": ("direction.yaml", DIRECTION),
    "kernel": ("direction.yaml", KERNEL),
    "trio": ("compose.yaml", TRIO),
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, toy) -> Path:
    """The folder of a library with an entry of each kind."""
    root, asked = tmp_path_factory.mktemp("library"), tmp_path_factory.mktemp("asked") / "asked.yaml"
    for name, (_, text) in FILES.items():
        asked.write_text(text)
        assert add(opened(root), f"toy/{name}", asked, toy, waive=EVERYTHING, samples=8).entry
    return root


@pytest.fixture
def library(mixed: Path, tmp_path: Path) -> Library:
    """A copy of it that a test may spoil."""
    import shutil

    return opened(Path(shutil.copytree(mixed, tmp_path / "library")))


def bytes_of(edit: edits.Edit) -> bytes:
    return b"".join(pack(edit))


def made(library: Library, text: str, toy, folder: Path) -> edits.Edit:
    (folder / "asked.yaml").write_text(text)
    with threads(1):
        return make(toy, folder / "asked.yaml", lambda name: library.edit(f"toy/{name}"), quiet)


def test_every_kind_is_kept_under_its_own_name_and_verified(mixed: Path, toy) -> None:
    library = opened(mixed)
    assert {kept_as for kept_as, _ in FILES.values()} == {kept_as for kept_as, _ in KINDS.values()}
    for name, (kept_as, text) in FILES.items():
        folder = library.folder(f"toy/{name}")
        assert (folder / kept_as).read_text() == text
        assert library.entry(f"toy/{name}").recipe == kept_as == file_of(folder / kept_as)
        assert library.entry(f"toy/{name}").content in (folder / "README.md").read_text()
    found = list(verify(library, library.names, lambda _: toy))
    assert [(one.outcome, one.apart, one.wrong) for one in found] == [("PASS", 0, None)] * len(FILES)


def test_an_edits_recipe_is_a_file_that_makes_the_same_edit(mixed: Path, toy, tmp_path: Path) -> None:
    """One law for all kinds; a composition's members have each their own."""
    library = opened(mixed)
    for name in ("rule", "units", "way", "kernel"):
        edit = library.edit(f"toy/{name}")
        assert bytes_of(made(library, yaml.safe_dump(edit.recipe), toy, tmp_path)) == bytes_of(edit)
    assert library.edit("toy/kernel").strength == 1.5
    members = {member.content for member, _ in library.edit("toy/trio").members}
    assert members == {library.entry(f"toy/{name}").content for name in ("way", "rule", "units")}


def test_the_order_of_members_makes_no_difference(mixed: Path, toy, tmp_path: Path) -> None:
    library = opened(mixed)
    members = {"way": 0.5, "rule": 1, "units": 1}
    files = [
        yaml.safe_dump({"model": "toy", "members": {name: members[name] for name in order}}, sort_keys=False)
        for order in permutations(members)
    ]
    assert len(set(files)) == 6
    assert {bytes_of(made(library, text, toy, tmp_path)) for text in files} == {bytes_of(library.edit("toy/trio"))}
    weights = []
    for order in [*permutations(members), ("trio",)]:
        stack = edits.Stack(toy.module)
        for name in order:
            stack.push(library.edit(f"toy/{name}"), members.get(name, 1))
        weights.append({name: tensor.clone() for name, tensor in toy.module.state_dict().items()})
        stack.clear()
    assert all(torch.equal(one[name], weights[0][name]) for one in weights for name in one)
    assert any(not torch.equal(tensor, weights[0][name]) for name, tensor in toy.module.state_dict().items())


def test_members_of_every_kind_are_solved_together(mixed: Path, toy, tmp_path: Path) -> None:
    library = opened(mixed)
    edit = made(library, TRIO + "how: resolve\n", toy, tmp_path)
    contents = {member.content for member, _ in edit.members}
    assert {library.entry(f"toy/{name}").content for name in ("way", "rule", "units")} <= contents


CHANGED = {
    "other units": ("units", "[3, 7]", "[3, 6]"),
    "another change": ("units", "ablate", "scale\nvalue: 0.5"),
    "another direction": ("way", "index: 1", "index: 0"),
    "another strength": ("kernel", "strength: 1.5", "strength: -1.5"),
    "another distance": ("way", "net: pixels", "distance: 0.003, net: pixels"),
    "another member": ("trio", "way: 0.5", "kernel: 0.5"),
}


@pytest.mark.parametrize("how", CHANGED)
def test_a_changed_file_is_noticed_pinned_or_not(library, toy, repinned, how: str) -> None:
    name, old, new = CHANGED[how]
    path = library.folder(f"toy/{name}") / FILES[name][0]
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    [found] = verify(library, [f"toy/{name}"], lambda _: toy, quick=True)
    assert found.outcome == "FAIL"
    assert "is not the file that the manifest pins" in found.wrong
    [found] = verify(repinned(library, f"toy/{name}"), [f"toy/{name}"], lambda _: toy, quick=True)
    assert found.outcome == "FAIL"
    words = "of the change away" if name == "trio" else "is not the one that its edit was made from"
    assert words in found.wrong


@pytest.mark.parametrize("name", ["units", "way", "trio"])
def test_corrupted_edits_and_loosened_bounds_are_noticed(library, toy, repinned, name: str) -> None:
    folder = library.folder(f"toy/{name}")
    bounds = json.loads((folder / "bounds.json").read_text())
    bounds["limits"]["effect"]["least"] /= 2
    (folder / "bounds.json").write_text(json.dumps(bounds, indent=1, sort_keys=True) + "\n")
    [found] = verify(repinned(library, f"toy/{name}"), [f"toy/{name}"], lambda _: toy, quick=True)
    assert "looser than the manifest says: effect" in found.wrong
    data = bytearray((folder / "edit.safetensors").read_bytes())
    data[-3] ^= 1
    (folder / "edit.safetensors").write_bytes(data)
    [found] = verify(repinned(library, f"toy/{name}"), [f"toy/{name}"], lambda _: toy, quick=True)
    assert found.outcome == "FAIL"
    assert "edit.safetensors" in found.wrong


REFUSED = {
    "no change": (f"layer: {LAYER}\nunits: [1]\n", "change is missing"),
    "units that are not there": (f"layer: {LAYER}\nunits: [99]\nchange: ablate\n", "from 0 to 15"),
    "a unit that is a word": (f"layer: {LAYER}\nunits: [one]\nchange: ablate\n", "units.0 is 'one'"),
    "a value too many": (f"layer: {LAYER}\nunits: [1]\nchange: scale\nvalue: [1, 2]\n", "2 values for 1 units"),
    "a value without end": (f"layer: {LAYER}\nunits: [1]\nchange: set\nvalue: .inf\n", "no JSON form"),
    "two kinds at once": (UNITS + "direction: {method: sefa}\n", "one of the fields paste, units, direction, members"),
    "another model's units": ("model: other\n" + UNITS.partition("\n")[2], "'other'"),
    "a direction beyond": ("direction: {method: sefa, index: 9, count: 2, net: pixels}\n", "asks for direction 9"),
    "a direction by somebody's code": ("direction: {method: sefa, segmenter: 'os:system'}\n", "direction.segmenter"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_makes_no_edit_is_refused_in_a_sentence(library, toy, tmp_path: Path, how: str) -> None:
    text, words = REFUSED[how]
    (tmp_path / "asked.yaml").write_text(text)
    with pytest.raises(edits.EditError) as caught:
        add(library, "toy/new", tmp_path / "asked.yaml", toy, waive=EVERYTHING, samples=8)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not library.folder("toy/new").exists()
    with pytest.raises(RewriteError, match="there is no entry"):
        opened(library.root).entry("toy/new")
