"""Arguments, completion, help, and how long they keep a person waiting."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from rewrite.cli import arguments, complete, voice
from rewrite.models.zoo import ZOO


@pytest.mark.parametrize(
    ("text", "values"),
    [("7", (7,)), ("0-3", (0, 1, 2, 3)), ("3,7,20-22", (3, 7, 20, 21, 22)), (" 1 , 2 - 3 ", (1, 2, 3))],
)
def test_seeds(text: str, values: tuple[int, ...]) -> None:
    assert arguments.seeds(text).values == values


@pytest.mark.parametrize("text", ["", "-1", "1-", "a", "1,,2", "0x1", "٣", "1e3", "9" * 40])
def test_no_seeds(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        arguments.seeds(text)


@pytest.mark.parametrize(
    ("text", "path", "strength"),
    [
        ("e.safetensors", "e.safetensors", None),
        ("e.safetensors:0.5", "e.safetensors", 0.5),
        ("e:-2", "e", -2.0),
        ("a:b/e.safetensors", "a:b/e.safetensors", None),
        ("a:1/e.safetensors:1e-1", "a:1/e.safetensors", 0.1),
        ("C:\\edits\\e.safetensors", "C:\\edits\\e.safetensors", None),
        ("e:", "e:", None),
    ],
)
def test_edits_with_strengths(text: str, path: str, strength: float | None) -> None:
    assert arguments.edit_at(text) == arguments.EditAt(Path(path), strength)


def test_ranks_and_amounts() -> None:
    assert [arguments.rank(text) for text in ("8", "full", "auto")] == [8, "full", "auto"]
    assert [arguments.amount(text) for text in ("0.03", "auto")] == [0.03, "auto"]
    for parser, text in ((arguments.rank, "1.5"), (arguments.rank, "-1"), (arguments.amount, "full")):
        with pytest.raises(typer.BadParameter):
            parser(text)


def test_completion_knows_the_zoo_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(complete.MODELS) == set(ZOO)
    monkeypatch.chdir(tmp_path)
    for name in ("glasses.safetensors", "notes.txt", ".hidden.safetensors"):
        (tmp_path / name).write_text("")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "smile.safetensors").write_text("")
    assert complete.models("f") == ["ffhq", "faces64"]
    assert complete.edits("") == ["glasses.safetensors", "saved/"]
    assert complete.edits("saved/s") == ["saved/smile.safetensors"]
    assert complete.edits("missing/") == []


def test_help_of_every_verb(rewrite) -> None:
    top = rewrite("--help")
    assert top.code == 0
    for verb in (
        "models",
        "pull",
        "inspect",
        "sample",
        "rule",
        "navigate",
        "audit",
        "show",
        "compose",
        "apply",
        "demo",
    ):
        assert f"\n  {verb} " in top.out
        said = rewrite(verb, "--help")
        assert said.code == 0
        assert all(option in said.out for option in ("--json", "--quiet", "--debug"))
    assert rewrite().out == top.out
    assert rewrite("--version").out.startswith("rewrite ")


def test_help_and_completion_do_not_wait_for_torch() -> None:
    asks = "import sys; from rewrite.cli import main; main(['rule', '--help']); print(sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{slow}'" in found for slow in ("torch", "numpy", "edits", "PIL", "jinja2"))


def test_progress_is_drawn_for_those_who_watch_and_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    for says, stream, drawn in (
        (voice.Voice(), Terminal(), True),
        (voice.Voice(), io.StringIO(), False),
        (voice.Voice(quiet=True), Terminal(), False),
        (voice.Voice(json=True), Terminal(), False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with says.progress() as progress:
            progress("solving", 0, 2)
            progress("solving", 2, 2)
        assert ("solving" in stream.getvalue()) is drawn


def test_what_a_file_says_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    voice.Voice().result({}, voice.table(["name"], [["\x1b[31mred [bold]"]]))
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "[bold]" in said
