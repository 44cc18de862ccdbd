"""A library is made, verified, and spoiled in every way that must be noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import edits
from rewrite import library as room
from rewrite.errors import RewriteError
from rewrite.library import add, opened, remade, verify
from rewrite.library.manifest import Manifest
from rewrite.library.verification import Verified

from .conftest import EVERYTHING, RULE

FILES = {"edit.safetensors", "bounds.json", "sheet.png", "README.md"}


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def verified(library, toy, *asked: str, **how) -> dict[str, Verified]:
    return {found.name: found for found in verify(library, library.chosen(asked), lambda _: toy, **how)}


def wrong(library, toy, name: str = "toy/left", **how) -> str:
    found = verified(library, toy, name, quick=True, **how)[name]
    assert found.outcome == "FAIL"
    assert found.wrong
    assert "\n" not in found.wrong
    return found.wrong


def test_a_library_keeps_what_it_says(made: Path, toy) -> None:
    library = opened(made)
    assert library.names == ["toy/both", "toy/left", "toy/right", "toy/sum"]
    for name in library.names:
        kept_as = "recipe.yaml" if name in ("toy/left", "toy/right") else "compose.yaml"
        assert {path.name for path in library.folder(name).iterdir()} == FILES | {kept_as}
        assert (library.folder(name) / "sheet.png").stat().st_size < 150_000
        assert library.entry(name).content in (library.folder(name) / "README.md").read_text()
    before = {name: tensor.clone() for name, tensor in toy.module.state_dict().items()}
    found = verified(library, toy)
    assert {name: one.outcome for name, one in found.items()} == dict.fromkeys(library.names, "PASS")
    assert [one.apart for one in found.values()] == [0, 0, 0, 0]
    assert all(one.verdict and len(one.verdict.seen.seeds) == 8 for one in found.values())
    assert found["toy/left"].verdict.conditions["place"] == "box 0.2,0.2,0.7,0.6"
    assert all(torch.equal(tensor, before[name]) for name, tensor in toy.module.state_dict().items())


def test_compositions_are_of_the_shipped_members(made: Path) -> None:
    library = opened(made)
    members = dict(library.edit("toy/sum").members)
    assert {edit.content: strength for edit, strength in members.items()} == {
        library.entry("toy/left").content: 1.0,
        library.entry("toy/right").content: 0.5,
    }
    assert library.edit("toy/both").made_by["verb"] == "resolve"


def test_the_same_recipe_is_the_same_entry(made: Path, recipes: Path, toy, tmp_path: Path) -> None:
    look = {"region": (0.2, 0.2, 0.7, 0.6), "samples": 8}
    entry = add(opened(tmp_path), "toy/left", recipes / "left.yaml", toy, waive=EVERYTHING, **look).entry
    assert entry == opened(made).entry("toy/left")


def test_how_many_threads_there_are_makes_no_difference(made: Path, toy) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        edit, away = remade(opened(made), "toy/left", toy)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert away == 0
    assert edit.content == opened(made).entry("toy/left").content


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def loosen(path: Path) -> None:
    facts = json.loads(path.read_text())
    facts["limits"]["harm"]["most"] *= 2
    path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")


def link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target.parent.parent / "elsewhere")
    path.symlink_to(target.parent.parent / "elsewhere")


SPOILED = {
    "a corrupted edit": (lambda at: flip(at / "edit.safetensors"), "edit.safetensors is not the file"),
    "loosened bounds": (lambda at: loosen(at / "bounds.json"), "bounds.json is not the file"),
    "a changed recipe": (
        lambda at: (at / "recipe.yaml").write_text(RULE.format(paste=4, mu=0.1)),
        "recipe.yaml is not",
    ),
    "a missing file": (lambda at: (at / "sheet.png").unlink(), "lacks its sheet.png"),
    "an extra file": (lambda at: (at / "notes.txt").write_text("x"), "has a notes.txt"),
    "a linked file": (lambda at: link(at / "edit.safetensors"), "it is a link"),
    "no folder": (shutil.rmtree, "is no folder"),
    "another entry's folder": (
        lambda at: (shutil.rmtree(at), shutil.copytree(at.with_name("right"), at)),
        "is not the file that the manifest pins",
    ),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_was_spoiled_is_noticed(library, toy, how: str) -> None:
    spoil, words = SPOILED[how]
    spoil(library.folder("toy/left"))
    assert words in wrong(library, toy)
    with pytest.raises(RewriteError, match="toy/left"):
        library.edit("toy/left")
    assert verified(library, toy, "toy/right", quick=True)["toy/right"].outcome == "PASS"


def test_what_was_spoiled_and_pinned_is_noticed(library, toy, repinned) -> None:
    """Somebody who rewrites the hashes of an entry's files has still to answer for what is in them."""
    folder = library.folder("toy/left")
    loosen(folder / "bounds.json")
    assert "looser than the manifest says: harm may be" in wrong(repinned(library, "toy/left"), toy)
    shutil.copy(library.folder("toy/right") / "bounds.json", folder / "bounds.json")
    assert "the bounds of toy/left are of edit" in wrong(repinned(library, "toy/left"), toy)
    shutil.copy(library.folder("toy/right") / "edit.safetensors", folder / "edit.safetensors")
    assert "and the manifest names" in wrong(repinned(library, "toy/left"), toy)


def test_bounds_that_name_no_conditions_are_noticed(library, toy, repinned) -> None:
    """They would be judged with any eye, at any place."""
    path = library.folder("toy/left") / "bounds.json"
    facts = json.loads(path.read_text())
    del facts["conditions"]["eye"]
    path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    found = verified(repinned(library, "toy/left"), toy, "toy/left", samples=10)["toy/left"]
    assert found.outcome == "FAIL"
    assert "with eye None" in found.wrong
    facts["conditions"].clear()
    path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    assert "do not say what" in wrong(repinned(library, "toy/left"), toy)


def test_a_folder_without_entries_is_no_library(tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="there is no entry in the library"):
        opened(tmp_path / "typo").chosen([])


def test_a_changed_recipe_that_was_pinned_is_noticed(library, toy, repinned) -> None:
    (library.folder("toy/left") / "recipe.yaml").write_text(RULE.format(paste=2, mu=0.11))
    assert "is not the one that its edit was made from" in wrong(repinned(library, "toy/left"), toy)
    (library.folder("toy/sum") / "compose.yaml").write_text("model: toy\nmembers: {left: 1, right: 0.6}\n")
    assert "of the change away from the entry's" in wrong(repinned(library, "toy/sum"), toy, "toy/sum")
    (library.folder("toy/sum") / "compose.yaml").write_text("nothing: here\n")
    assert "asks for no edit that a library holds" in wrong(repinned(library, "toy/sum"), toy, "toy/sum")


def test_what_breaks_its_bounds_is_noticed(library, toy, repinned) -> None:
    path = library.folder("toy/left") / "bounds.json"
    facts = json.loads(path.read_text())
    facts["limits"]["effect"]["least"] = 1e6
    path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    found = verified(repinned(library, "toy/left"), toy, "toy/left", samples=10)["toy/left"]
    assert found.outcome == "FAIL"
    assert "effect is" in found.wrong
    assert "expected at least 1e+06" in found.wrong
    assert "on 10 seeds" in found.wrong


def test_other_weights_are_noticed(library, made: Path) -> None:
    from rewrite.models import stylegan2

    module = stylegan2.StyleGAN2.random(6, resolution=32, channels=(16, 16, 16, 8), z=16, w=16, depth=2)
    assert wrong(library, stylegan2.generator(module, name="toy"))


def test_a_folder_that_is_in_no_manifest_is_noticed(library, toy) -> None:
    (library.root / "other" / "thing").mkdir(parents=True)
    found = verified(library, toy, quick=True)
    assert "is in no manifest" in found["other/thing"].wrong
    assert found["toy/left"].outcome == "PASS"
    assert set(verified(library, toy, "other")) == {"other/thing"}


def test_a_model_that_cannot_be_had_is_passed_over(library) -> None:
    assert [one.outcome for one in verify(library, library.names, lambda _: None)] == [None] * 4


def test_names_lead_nowhere_else(library) -> None:
    for name in ("toy/nothing", "../library", "nothing"):
        with pytest.raises(RewriteError, match="there is no entry"):
            library.chosen([name])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"toy/left"', '"../left"'),
        ('"toy/left"', '"toy/../left"'),
        ('"toy/left"', '"/toy/left"'),
        ('"sheet.png"', '"../sheet.png"'),
        ('"format": 1', '"format": 2'),
        ('"samples": 8', '"samples": "many"'),
        ('"harm": {', '"harm":  {'),
        ("{\n", "\n"),
    ],
)
def test_a_manifest_that_points_elsewhere_is_refused(library, old: str, new: str) -> None:
    path = library.root / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RewriteError, match=r"manifest\.json"):
        opened(library.root)


def test_what_is_not_within_the_usual_is_refused_and_nothing_is_written(library, recipes: Path, toy) -> None:
    before = tree(library.root)
    added = add(library, "toy/third", recipes / "left.yaml", toy, samples=8)
    assert added.entry is None
    assert added.lacking
    named = [one.name for one in added.lacking]
    some = add(library, "toy/third", recipes / "left.yaml", toy, samples=8, waive=named[:1])
    assert [one.name for one in some.lacking] == named[1:]
    assert tree(library.root) == before


REFUSED = {
    "a name that is taken": ("toy/left", RULE.format(paste=2, mu=0.1), "has toy/left already"),
    "a name that leads elsewhere": ("toy/../left", RULE.format(paste=2, mu=0.1), "no name of an entry"),
    "a name of another model": ("other/left", RULE.format(paste=2, mu=0.1), "load other"),
    "a choice that is left open": ("toy/new", RULE.format(paste=2, mu="auto"), "write down what they chose: layer: "),
    "a mask beside it": (
        "toy/new",
        RULE.format(paste=2, mu=0.1).replace("box: [0.3, 0.3, 0.8, 0.7]", "mask: m.png"),
        r"m\.png",
    ),
    "no recipe": ("toy/new", "model: toy\n", "asks for no edit"),
    "another model's": ("toy/new", RULE.format(paste=2, mu=0.1).replace("model: toy", "model: faces64"), "faces64"),
    "a member that is not there": (
        "toy/new",
        "model: toy\nmembers: {left: 1, gone: 1}\n",
        "there is no entry 'toy/gone'",
    ),
    "a member that leads elsewhere": ("toy/new", "model: toy\nmembers: {left: 1, ../x: 1}\n", "there is no entry"),
    "a member at no strength": ("toy/new", "model: toy\nmembers: {left: 1, right: much}\n", "members.right"),
    "a composition of another model": ("toy/new", "model: ffhq\nmembers: {left: 1, right: 1}\n", "'ffhq'"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_request_that_cannot_be_kept_changes_nothing(library, toy, tmp_path: Path, how: str) -> None:
    name, text, words = REFUSED[how]
    (tmp_path / "asked.yaml").write_text(text)
    before = tree(library.root)
    with pytest.raises(edits.EditError, match=words) as caught:
        add(library, name, tmp_path / "asked.yaml", toy, waive=EVERYTHING, samples=8)
    assert "\n" not in str(caught.value)
    assert tree(library.root) == before


@pytest.mark.parametrize("name", ["toy/left", "toy/new"])
def test_add_happens_whole_or_not_at_all(library, recipes: Path, toy, monkeypatch, name: str) -> None:
    before = tree(library.root)

    def full(self, root) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "save", full)
        with pytest.raises(RewriteError, match="No space left on device"):
            add(library, name, recipes / "right.yaml", toy, waive=EVERYTHING, samples=8, replace=True)
    assert tree(library.root) == before
    assert add(library, name, recipes / "right.yaml", toy, waive=EVERYTHING, samples=8, replace=True).entry
    assert verified(opened(library.root), toy, name, quick=True)[name].outcome == "PASS"
    assert not [path for path in library.root.rglob(".*") if path.name != "."]


@pytest.mark.parametrize("name", ["toy/left", "toy/new"])
def test_an_interrupt_after_the_manifest_is_written_takes_it_back(
    library, recipes: Path, toy, monkeypatch, name: str
) -> None:
    before, save = tree(library.root), Manifest.save

    def interrupted(self, root) -> None:
        save(self, root)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(Manifest, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add(library, name, recipes / "right.yaml", toy, waive=EVERYTHING, samples=8, replace=True)
    assert tree(library.root) == before


def test_a_library_stays_small(library, recipes: Path, toy, monkeypatch) -> None:
    monkeypatch.setattr("rewrite.library.addition.MOST", 1000)
    with pytest.raises(RewriteError, match="lower its rank"):
        add(library, "toy/new", recipes / "left.yaml", toy, waive=EVERYTHING, samples=8)


def test_files_that_are_in_the_way_are_not_lost(library, recipes: Path, toy) -> None:
    folder = library.folder("toy/new")
    folder.mkdir()
    shutil.copy(recipes / "left.yaml", folder / "recipe.yaml")
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(RewriteError, match=r"mine\.txt, which would be lost"):
        add(library, "toy/new", folder / "recipe.yaml", toy, waive=EVERYTHING, samples=8)
    (folder / "mine.txt").unlink()
    assert add(library, "toy/new", folder / "recipe.yaml", toy, waive=EVERYTHING, samples=8).entry
    assert (folder / "recipe.yaml").read_bytes() == (recipes / "left.yaml").read_bytes()


def test_an_entry_without_its_edit_is_known_by_a_sketch(
    tmp_path: Path, recipes: Path, toy, repinned, monkeypatch
) -> None:
    monkeypatch.setattr("rewrite.library.addition.RECIPES_ONLY", frozenset({"toy"}))
    for name in ("left", "right", "sum"):
        assert add(opened(tmp_path), f"toy/{name}", recipes / f"{name}.yaml", toy, waive=EVERYTHING, samples=8).entry
    library = opened(tmp_path)
    assert {path.name for path in library.folder("toy/left").iterdir()} == {"recipe.yaml", "bounds.json", "README.md"}
    assert "rewrite library build toy/left --out left.safetensors" in (tmp_path / "toy/left/README.md").read_text()
    with pytest.raises(RewriteError, match="shipped as a recipe alone"):
        library.edit("toy/left")
    assert [one.apart for one in verified(library, toy).values()] == [0, 0, 0]
    assert room.edit_of(library, "toy/sum", toy).members

    # On another machine: another content, nearly the same weights; its bounds hold for it.
    path = tmp_path / "manifest.json"
    facts = json.loads(path.read_text())
    facts["entries"]["toy/left"]["content"] = "0" * 64
    bounds = json.loads((tmp_path / "toy/left/bounds.json").read_text())
    (tmp_path / "toy/left/bounds.json").write_text(
        json.dumps(bounds | {"edit": "0" * 64}, indent=1, sort_keys=True) + "\n"
    )
    [[name, numbers]] = facts["entries"]["toy/left"]["sketch"].items()
    facts["entries"]["toy/left"]["sketch"][name] = [x * (1 + 1e-5) for x in numbers]
    path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    found = verified(repinned(opened(tmp_path), "toy/left"), toy, "toy/left")["toy/left"]
    assert found.outcome == "PASS"
    assert found.apart == pytest.approx(1e-5, rel=0.01)

    (tmp_path / "toy/left/recipe.yaml").write_text(RULE.format(paste=2, mu=0.11))
    assert "of the change away from the entry's" in wrong(repinned(opened(tmp_path), "toy/left"), toy)


def test_made_again_it_is_the_same_edit(library, toy) -> None:
    for name in library.names:
        edit, away = remade(library, name, toy)
        assert edit.content == library.entry(name).content
        assert away == 0
