"""Segmenters by name: each source gives its own, and one sentence says why another does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rewrite.concepts import Segmenter, labels, scenes, segmenter
from rewrite.concepts.scenes import SceneSegmenter
from rewrite.errors import RewriteError

MODULE = """
import torch

class Reddest:
    classes = ("red", "green", "blue")
    def __call__(self, images):
        return images

class Needy(Reddest):
    def __init__(self, what): pass

class Shelf:
    reddest = Reddest()

def reddest(images):
    return images

reddest.classes = ("red", "green", "blue")

def nameless(images):
    return images

def listed(images):
    return images

listed.classes = ["red", "green", "blue"]
number = 3
"""

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module and one that cannot be imported."""
    (tmp_path / "own_segmenter_of_a_test.py").write_text(MODULE)
    (tmp_path / "own_broken_segmenter.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_scenes_by_name_and_by_file(folder: Path) -> None:
    found = segmenter("scenes")
    assert isinstance(found, SceneSegmenter)
    scenes.write(folder / "mine.safetensors", found, torch.float16)
    for path in (folder / "mine.safetensors", "mine.safetensors"):
        again = segmenter(path)
        assert isinstance(again, SceneSegmenter)
        assert again.classes == found.classes


@pytest.mark.parametrize("path", ["reddest", "Reddest", "Shelf.reddest"])
def test_what_a_module_in_the_current_folder_holds(path: str) -> None:
    found = segmenter(f"own_segmenter_of_a_test:{path}")
    assert isinstance(found, Segmenter)
    assert torch.equal(labels(found, IMAGES), IMAGES.argmax(1))


def test_a_callable_is_itself() -> None:
    class Network(nn.Module):
        classes = ("dark", "light")

        def forward(self, images: Tensor) -> Tensor:
            return images[:, :2]

    network = Network()
    assert segmenter(network) is network
    assert isinstance(segmenter(Network), Network)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("scene", "no segmenter 'scene'; nearest: scenes"),
        ("", "no segmenter ''"),
        ("own segmenter:x", "no segmenter 'own segmenter:x'"),
        ("own_segmenter_of_a_test:redest", "has no redest; nearest: reddest"),
        ("own_segmenter_of_a_test:Shelf.none", "has no Shelf.none"),
        ("own_segmenter_of_a_test:nameless", r"nameless has no classes; .*`nameless.classes = \(...\)`"),
        ("own_segmenter_of_a_test:listed", "expected a tuple of distinct names"),
        ("own_segmenter_of_a_test:number", "number is of type int; expected a callable"),
        ("own_segmenter_of_a_test:Needy", "Needy cannot be made without arguments .*'what'"),
        ("own_broken_segmenter:x", "cannot be imported .ZeroDivisionError: division by zero"),
        ("no_such_module_at_all:x", "cannot be imported .ModuleNotFoundError.* current folder"),
        ("none.safetensors", "none.safetensors cannot be read"),
        (Path("none.safetensors"), "none.safetensors cannot be read"),
        (lambda images: images, "<lambda> has no classes"),
    ],
)
def test_what_is_no_segmenter_is_said_in_a_sentence(source: Any, says: str) -> None:
    with pytest.raises(RewriteError, match=says) as caught:
        segmenter(source)
    assert "\n" not in str(caught.value)
