"""A small generator, and a library of two rules on it, a sum of them, and both solved together."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rewrite.generator import Generator
from rewrite.library import Library, add, opened
from rewrite.models import stylegan2

EVERYTHING = ("harm", "tone", "effect", "outside", "change outside")
"""Rules on random weights are good for nothing: their findings are waived."""
RULE = """\
# A patch of one image in two others.
model: toy
layer: synthesis.b16.conv1
copy: {{seed: 1, box: [0.2, 0.2, 0.7, 0.6]}}
paste:
  - {{seed: {paste}, box: [0.2, 0.2, 0.7, 0.6]}}
  - {{seed: 9, box: [0.3, 0.3, 0.8, 0.7]}}
rank: 2
mu: {mu}
nu: 0.1
samples: 16
"""
SUM = "model: toy\nmembers: {left: 1, right: 0.5}\n"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWRITE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def toy() -> Generator:
    module = stylegan2.StyleGAN2.random(5, resolution=32, channels=(16, 16, 16, 8), z=16, w=16, depth=2)
    return stylegan2.generator(module, name="toy", card={"licence": "MIT", "origin": "a test"})


@pytest.fixture(scope="session")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the library is made from."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "left.yaml").write_text(RULE.format(paste=2, mu=0.1))
    (folder / "right.yaml").write_text(RULE.format(paste=3, mu=0.1))
    (folder / "sum.yaml").write_text(SUM)
    (folder / "both.yaml").write_text(SUM + "how: resolve\n")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, recipes: Path, toy: Generator) -> Path:
    """The folder of a library: toy/left, toy/right, toy/sum, toy/both."""
    root = tmp_path_factory.mktemp("library")
    for name in ("left", "right", "sum", "both"):
        region = {"region": (0.2, 0.2, 0.7, 0.6)} if name == "left" else {}
        added = add(opened(root), f"toy/{name}", recipes / f"{name}.yaml", toy, waive=EVERYTHING, samples=8, **region)
        assert added.entry
    return root


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Library:
    """A copy of it that a test may spoil."""
    return opened(Path(shutil.copytree(made, tmp_path / "library")))


@pytest.fixture
def repinned() -> Callable[[Library, str], Library]:
    """The library after somebody wrote what an entry's files are now into its manifest."""

    def pin(library: Library, name: str) -> Library:
        path = library.root / "manifest.json"
        facts = json.loads(path.read_text())
        facts["entries"][name]["files"] = {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in library.folder(name).iterdir()
        }
        path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
        return opened(library.root)

    return pin
