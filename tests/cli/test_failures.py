"""What goes wrong is one clear line, the right exit code, and nothing half-written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import edits.file
from rewrite.cli import failure, main


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "result"


@pytest.fixture(autouse=True)
def _nothing_left(out: Path):
    yield
    left = sorted(path.name for path in out.parent.iterdir()) if out.parent.exists() else []
    assert left == []


def test_a_truncated_edit(rewrite, tiny: Path, edit: Path, out: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(edit.read_bytes()[:-20])
    rewrite("sample", tiny, "--edit", cut, "--out", out).failed_with("cut.safetensors", "bytes")


def test_a_flipped_byte(rewrite, tiny: Path, edit: Path, out: Path, tmp_path: Path) -> None:
    data = bytearray(edit.read_bytes())
    data[-5] ^= 1
    flipped = tmp_path / "flipped.safetensors"
    flipped.write_bytes(data)
    for arguments in (["show", flipped], ["apply", tiny, flipped, "--out", out]):
        rewrite(*arguments).failed_with("flipped.safetensors", "content")


def test_a_wrong_base(rewrite, made: Path, edit: Path, out: Path) -> None:
    rewrite("apply", made / "other.safetensors", edit, "--out", out, "--quiet").failed_with("main.3.weight", "base")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("colour: red", "'colour'"),
        ("layer: main.4", "'main.4'"),
        ("copy: {seed: 1, box: [2, 2, 2, 2]}", "covers nothing"),
        ("copy: {seed: 1, box: [1.5, 1.5, 1.9, 1.9]}", "covers nothing"),
        ("copy: {seed: one, box: [0, 0, 1, 1]}", "'one'"),
        ("copy: {seed: 1, mask: missing.png}", "missing.png"),
    ],
)
def test_a_recipe_at_fault(rewrite, tiny: Path, made: Path, out: Path, tmp_path: Path, line: str, word: str) -> None:
    field = line.partition(":")[0]
    kept = [old for old in (made / "recipe.yaml").read_text().splitlines() if not old.startswith(field)]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("\n".join([*kept, line]))
    rewrite("rule", tiny, recipe, "--out", out).failed_with(word)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--seeds", "x"], "'x' is no seed"),
        (["--seeds", "1.5"], "no seed"),
        (["--seeds", "5-3"], "'5-3'"),
        (["--seeds", "4294967296"], "seeds"),
        (["--seeds", "0-4294967295"], "seeds"),
        (["--edit", "e.safetensors:inf"], "finite"),
        (["--edit", "e.safetensors:nan"], "finite"),
        (["--edit", ":0.5"], "FILE"),
        (["--edit", "missing.safetensors"], "missing.safetensors"),
        (["--noise", "loud"], "'loud'"),
        (["--size", "0"], "--size"),
        (["--device", "abacus"], "'abacus'"),
        (["--device", "meta"], "no device 'meta'"),
        (["--truncation", "0.5"], "mean style"),
        (["--truncation", "nan"], "'nan' is no finite number"),
        (["--truncation", "-inf"], "finite"),
        (["--seeds", "0-9999", "--size", "4096"], "ask for 23 seeds at most, or for a size of 200"),
        (["--label", "1"], "label"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_an_option_at_fault(rewrite, tiny: Path, out: Path, options: list[str], word: str) -> None:
    rewrite("sample", tiny, "--out", out, *options).failed_with(word)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["smaple"], "smaple"),
        (["inspect"], "MODEL"),
        (["inspect", "fhq"], "ffhq"),
        (["pull", "fhq"], "ffhq"),
        (["rule", "ffhq", "r.yaml", "--out", "e", "--rank", "0"], "--rank"),
        (["rule", "ffhq", "r.yaml", "--out", "e", "--mu", "nan"], "--mu"),
        (["rule", "ffhq", "missing.yaml", "--out", "e"], "missing.yaml"),
        (["rule", "ffhq", "r.yaml", "--out", "e", "--truncation", "nan"], "finite"),
        (["rule", "ffhq", "r.yaml", "--out", "e", "--preview", "./e"], "--out and --preview are one file"),
        (["rule", "ffhq", "r.yaml", "--out", "r.yaml"], "RECIPE and --out are one file"),
        (["rule", "m.safetensors", "r.yaml", "--out", "m.safetensors"], "MODEL and --out are one file"),
    ],
)
def test_usage(rewrite, arguments: list[str], word: str) -> None:
    rewrite(*arguments).failed_with(word)


def test_a_folder_is_no_output(rewrite, tiny: Path, tmp_path: Path) -> None:
    rewrite("sample", tiny, "--out", tmp_path).failed_with("is a folder")
    (tmp_path / "file").write_text("")
    rewrite("sample", tiny, "--out", tmp_path / "file" / "grid.png").failed_with("cannot be written")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(edits.file.os, "fsync", no_room)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk(rewrite, tiny: Path, made: Path, edit: Path, out: Path) -> None:
    for arguments in (
        ["sample", tiny, "--seeds", "1", "--out", out],
        ["compose", edit, "--out", out],
        ["apply", tiny, edit, "--out", out],
        ["rule", tiny, made / "recipe.yaml", "--out", out],
    ):
        rewrite(*arguments).failed_with("No space left on device")


@pytest.mark.parametrize("verb", ["sample", "rule", "apply"])
def test_ctrl_c_in_the_middle(
    rewrite, tiny: Path, made: Path, edit: Path, out: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    place = {"sample": "rewrite.report.grid", "rule": "rewrite.rules.rule", "apply": "edits.file.os.replace"}[verb]
    monkeypatch.setattr(place, interrupted)
    arguments = {"sample": [tiny], "rule": [tiny, made / "recipe.yaml"], "apply": [tiny, edit]}[verb]
    rewrite(verb, *arguments, "--out", out).failed_with("interrupted", code=130)


def test_what_was_there_stays_when_a_write_fails(
    rewrite, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "grid.png"
    old.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(edits.file.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
        rewrite("sample", tiny, "--seeds", "1", "--out", old).failed_with("I/O error")
    assert old.read_bytes() == b"old"
    assert rewrite("sample", tiny, "--seeds", "1", "--out", old).code == 0
    assert old.read_bytes().startswith(b"\x89PNG")


def test_the_unforeseen_is_one_line_unless_a_traceback_is_asked_for(
    rewrite, edit: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(_path: Path) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr(edits, "load", broken)
    rewrite("show", edit).failed_with("unexpected ValueError: two;", "--debug")
    assert main(["show", str(edit), "--debug"]) == 2
    assert "Traceback" in capfd.readouterr().err
    monkeypatch.setenv("REWRITE_DEBUG", "1")
    assert main(["show", str(edit)]) == 2
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "grid.png"), "grid.png: No space left on device; free"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied; choose"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "e"), "e: No such file or directory; check"),
        (MemoryError(), "unexpected MemoryError; run"),
    ],
)
def test_errors_of_the_system(error: Exception, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failure.report(error, debug=False) == failure.ERROR
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error(made: Path) -> None:
    command = f"'{sys.executable}' -c 'from rewrite.cli import main; raise SystemExit(main())'"
    line = f"set -o pipefail; {command} inspect '{made}/tiny.safetensors' --json | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_only_a_regular_file_is_an_output(rewrite, tiny: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("pipe", "link", "loop"):
        rewrite("sample", tiny, "--out", tmp_path / name).failed_with("no regular file")
        assert (tmp_path / name).is_symlink() == (name != "pipe")


def test_what_a_file_says_does_not_steer_the_terminal(rewrite, tiny: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text('"\\e[31mred\\a": 1\n"\\e[31mred\\a": 1')
    for arguments, word in (
        (["rule", tiny, tmp_path / "recipe.yaml", "--out", out], "red"),
        (["rule", tiny, tmp_path / "\x1b[31mmissing", "--out", out], "missing"),
        (["show", tmp_path / "\x1b]0;owned\x07"], "owned"),
        (["sample", "\x1b[31mmodel", "--out", out], "model"),
    ):
        said = rewrite(*arguments)
        said.failed_with(word)
        assert said.err.rstrip("\n").isprintable()


def command(*arguments: object) -> str:
    start = f"'{sys.executable}' -m rewrite"
    return " ".join([start, *(f"'{argument}'" for argument in arguments)])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("turned", ["2>/dev/full", "2>&-", ">/dev/full", ">/dev/full 2>/dev/full", ">&- 2>&-"])
def test_an_error_that_cannot_be_told_still_has_its_exit_code(turned: str) -> None:
    arguments = ("models",) if turned.startswith(">/dev") else ("smaple",)
    done = subprocess.run(["bash", "-c", f"{command(*arguments)} {turned}"], capture_output=True, check=False)
    assert done.returncode == failure.ERROR, done


SLOW_TORCH = "import time\nprint('importing', flush=True)\ntime.sleep(30)"
SLOW_VERB = """
import sys, tempfile, time
import edits
def slow(path):
    with tempfile.TemporaryDirectory(dir=sys.argv[-1]):
        print("working", flush=True)
        time.sleep(30)
edits.load = slow
from rewrite.cli import main
raise SystemExit(main(["show", "e"]))
"""


def _hearing() -> None:
    """Where the tests run in the background Ctrl-C is not heard, and not by what they start either."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["importing", "working"])
def test_a_signal_at_any_time(tmp_path: Path, moment: str, number: int, code: int) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "torch.py").write_text(SLOW_TORCH)
    if moment == "importing":
        started = [sys.executable, "-m", "rewrite", "show", "e"]
        path = os.pathsep.join([str(tmp_path / "slow"), str(Path.cwd())])
    else:
        (tmp_path / "work").mkdir()
        started, path = [sys.executable, "-c", SLOW_VERB, str(tmp_path / "work")], str(Path.cwd())
    with subprocess.Popen(
        started, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_hearing,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == f"{moment}\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert err == ("rewrite: interrupted; nothing was left half-written\n" if number == signal.SIGINT else "")
    assert moment == "importing" or list((tmp_path / "work").iterdir()) == []


def test_what_signals_did_before_they_do_again(rewrite) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    rewrite("show", "missing").failed_with("missing")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
