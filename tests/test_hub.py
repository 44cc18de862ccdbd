"""Edits on the hub, with a hub of our own in its place: nothing here asks the network for anything."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

import edits
from edits import Add, Dense
from rewrite import hub
from rewrite.errors import RewriteError


class Hub(ModuleType):
    """What of huggingface_hub is used, over a dictionary."""

    def __init__(self, folder: Path) -> None:
        super().__init__("huggingface_hub")
        self.folder, self.files, self.asked = folder, {}, []
        self.CommitOperationAdd = SimpleNamespace
        self.HfApi = lambda: self

    def hf_hub_download(self, *, repo_id: str, filename: str, revision: str | None) -> str:
        self.asked.append((repo_id, filename, revision))
        if (repo_id, filename) not in self.files:
            raise LookupError("404 Client Error.\n\nEntry Not Found")
        path = self.folder / repo_id.replace("/", "--") / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.files[repo_id, filename])
        return str(path)

    def create_repo(self, *, repo_id: str, private: bool, exist_ok: bool) -> None:
        self.asked.append((repo_id, private, exist_ok))

    def create_commit(self, *, repo_id: str, operations, commit_message: str, revision: str | None):
        if repo_id.startswith("others/"):
            raise PermissionError("403 Forbidden")
        self.asked.append((commit_message, revision))
        self.files |= {(repo_id, one.path_in_repo): one.path_or_fileobj for one in operations}
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "huggingface_hub", made)
    return made


@pytest.fixture
def edit(tmp_path: Path) -> Path:
    weights = {"w": torch.zeros(3)}
    made = edits.Edit({"w": (Add((3,), Dense(torch.ones(3))),)}, edits.describe(weights, ["w"]))
    made.save(tmp_path / "glasses.safetensors")
    return tmp_path / "glasses.safetensors"


@pytest.mark.parametrize(
    ("text", "repo", "file", "revision"),
    [
        ("hf://user/repo/glasses.safetensors", "user/repo", "glasses.safetensors", None),
        ("hf://user/repo/a/b c.safetensors", "user/repo", "a/b c.safetensors", None),
        ("hf://u-s.er/re_po@v1.0/g", "u-s.er/re_po", "g", "v1.0"),
        ("hf://user/repo", "user/repo", "", None),
        ("hf://user/repo@main", "user/repo", "", "main"),
        (Path("hf://user/repo/glasses.safetensors"), "user/repo", "glasses.safetensors", None),
    ],
)
def test_addresses(text, repo: str, file: str, revision: str | None) -> None:
    found = hub.address(text)
    assert found == hub.Address(repo, file, revision)
    assert hub.address(str(found)) == found


@pytest.mark.parametrize("text", ["glasses.safetensors", "a/hf://b", Path("hf"), "hf"])
def test_paths_are_no_addresses(text) -> None:
    assert hub.address(text) is None
    assert hub.local(text) == Path(text)


@pytest.mark.parametrize(
    "text", ["hf://", "hf://user", "hf://a/b/../c", "hf://../b/c", "hf://a/b//c", "hf://a b/c/d", "hf://a/b/."]
)
def test_what_begins_like_an_address_and_is_none(text: str) -> None:
    with pytest.raises(RewriteError, match="is no address"):
        hub.address(text)


def test_an_edit_is_pushed_and_loaded(fake: Hub, edit: Path) -> None:
    to = hub.Address("user/repo", revision="dev")
    url = hub.push(to, {edit.name: edit, "README.md": b"# card"}, message="An edit", private=True)
    assert url == "https://hub/user/repo/commit/1"
    assert fake.files == {("user/repo", edit.name): edit.read_bytes(), ("user/repo", "README.md"): b"# card"}
    assert fake.asked == [("user/repo", True, True), ("An edit", "dev")]
    loaded = hub.load("hf://user/repo@dev/glasses.safetensors")
    assert loaded.content == edits.load(edit).content
    assert fake.asked[-1] == ("user/repo", "glasses.safetensors", "dev")


def test_what_is_fetched_is_read_as_strictly_as_any_file(fake: Hub, edit: Path) -> None:
    fake.files["user/repo", "x"] = edit.read_bytes()[:-1]
    with pytest.raises(edits.EditError, match="not a sound edit file"):
        hub.load("hf://user/repo/x")


def test_what_the_hub_does_not_do_is_one_sentence(fake: Hub, edit: Path) -> None:
    with pytest.raises(RewriteError, match=r"hf://user/repo/missing \(404 Client Error\.\)"):
        hub.load("hf://user/repo/missing")
    with pytest.raises(RewriteError, match="403 Forbidden"):
        hub.push(hub.Address("others/repo"), {edit.name: edit}, message="mine")
    with pytest.raises(RewriteError, match="whole repository"):
        hub.load("hf://user/repo")
    assert fake.files == {}


def test_a_missing_extra_is_one_sentence(edit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (
        lambda: hub.load("hf://user/repo/x"),
        lambda: hub.push(hub.Address("user/repo"), {edit.name: edit}, message="mine"),
    ):
        with pytest.raises(RewriteError, match=r"not installed.*pip install 'rewrite\[hub\]'"):
            call()


def test_the_real_hub_still_has_what_is_used() -> None:
    real = pytest.importorskip("huggingface_hub")
    import inspect

    used = {"repo_id", "filename", "revision"}
    assert used <= inspect.signature(real.hf_hub_download).parameters.keys()
    assert {"repo_id", "private", "exist_ok"} <= inspect.signature(real.HfApi.create_repo).parameters.keys()
    asked = {"repo_id", "operations", "commit_message", "revision"}
    assert asked <= inspect.signature(real.HfApi.create_commit).parameters.keys()
    assert real.CommitOperationAdd(path_in_repo="a", path_or_fileobj=b"b").path_in_repo == "a"
