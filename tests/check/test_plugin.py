"""The pytest plugin, used from a throw-away repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rewrite.models import save


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, generator) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    save(generator, folder / "toy.safetensors")
    return folder


def run(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_edit.py").write_text(test)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "rewrite.pytest_plugin",
        str(folder),
    ]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


def test_an_edit_within_its_limits_passes_and_another_fails_with_the_figures(repository: Path, noise) -> None:
    noise(0.001).save(repository / "slight.safetensors")
    noise(1.0).save(repository / "gross.safetensors")
    done = run(
        repository,
        "def test_slight(edit_check):\n"
        "    found = edit_check('slight.safetensors', model='toy.safetensors', samples=16, cap=16)\n"
        "    assert found.outcome == 'PASS'\n"
        "def test_gross(edit_check):\n"
        "    edit_check('gross.safetensors', model='toy.safetensors', samples=16, cap=16, region=[0, 0, .5, .5],\n"
        "               effect_least=1e6, distance_outside=1e-9)\n",
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "gross.safetensors: FAIL after 16 seeds" in done.stdout
    assert "at least 1e+06: FAIL" in done.stdout
    assert "at most 1e-09: FAIL" in done.stdout
    page = Path(done.stdout.split("see ")[1].split()[0])
    assert page.name == "index.html"
    assert page.exists()


def test_a_limit_of_another_distance_is_not_taken_for_lpips(repository: Path, noise) -> None:
    noise(0.001).save(repository / "slight.safetensors")
    done = run(
        repository,
        "def test_slight(edit_check):\n"
        "    edit_check('slight.safetensors', model='toy.safetensors', samples=16, cap=16,\n"
        "               distance='pd-lite0', lpips_out=0.05)\n",
    )
    assert "1 failed" in done.stdout
    assert "a limit of LPIPS was asked for, and the distance is pd-lite0" in done.stdout


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("bounds='bounds.json', harm=1", "harm is a limit, and so are those in bounds.json"),
        ("region=[0, 0, .5, .5], concept='window'", "region and concept both say"),
        ("region=[]", "is no box"),
        ("lpips_out=0.05, distance='lpips-alex (trunk not the published one, not LPIPS)'", "nearest: lpips-alex"),
    ],
)
def test_what_would_be_dropped_silently_is_refused(repository: Path, noise, asked: str, reason: str) -> None:
    noise(0.001).save(repository / "slight.safetensors")
    call = f"edit_check('slight.safetensors', model='toy.safetensors', samples=16, cap=16, {asked})"
    done = run(repository, f"def test_slight(edit_check):\n    {call}\n")
    assert "1 failed" in done.stdout
    assert reason in done.stdout


def test_the_plugin_is_found_without_being_named_and_imports_no_torch() -> None:
    code = (
        "import sys, importlib.metadata as m; "
        "assert any(e.value == 'rewrite.pytest_plugin' for e in m.entry_points(group='pytest11')); "
        "import rewrite.pytest_plugin; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
