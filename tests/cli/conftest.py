"""A small generator on disk, an edit of it, and the command as a person runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from rewrite.cli import main
from rewrite.models import dcgan, save

RECIPE = """
layer: main.3
copy: {seed: 1, box: [0.1, 0.1, 0.6, 0.6]}
paste: [{seed: 2, box: [0.2, 0.2, 0.8, 0.8]}]
rank: 2
mu: 0.1
nu: 0
samples: 8
"""


@dataclass(frozen=True)
class Said:
    """What one run said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def facts(self):
        return json.loads(self.out)

    def failed_with(self, *words: str, code: int = 2) -> None:
        """One line on stderr, none on stdout, no traceback."""
        assert self.code == code, self
        assert self.out == ""
        assert self.err.startswith("rewrite: ")
        assert self.err.count("\n") == 1, self.err
        for word in words:
            assert word in self.err, self.err


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.safetensors, other.safetensors (other weights) and recipe.yaml."""
    folder = tmp_path_factory.mktemp("made")
    for seed, name in enumerate(("tiny", "other")):
        torch.manual_seed(seed)
        module = dcgan.DCGAN(z=8, channels=[12, 8, 3]).eval().requires_grad_(False)
        card = {"licence": "MIT", "origin": "a test"}
        save(dcgan.generator(module, name=name, card=card), folder / f"{name}.safetensors")
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="session")
def edit(made: Path) -> Path:
    """An edit of tiny.safetensors."""
    path = made / "edit.safetensors"
    assert main(["rule", str(made / "tiny.safetensors"), str(made / "recipe.yaml"), "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="session")
def second(made: Path) -> Path:
    """Another edit of tiny.safetensors, at a later layer."""
    path, model = made / "second.safetensors", made / "tiny.safetensors"
    options = ["--layer", "main.6", "--out", str(path)]
    assert main(["rule", str(model), str(made / "recipe.yaml"), *options]) == 0
    return path


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("REWRITE_DEBUG", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _session_home(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWRITE_HOME", str(tmp_path_factory.mktemp("session home")))
        yield


@pytest.fixture
def tiny(made: Path) -> Path:
    return made / "tiny.safetensors"


@pytest.fixture
def rewrite(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command; what it says is checked to hold no traceback."""

    def run(*arguments: object) -> Said:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)

    return run
