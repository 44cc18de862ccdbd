"""Groups of classes: labels of a grouped segmenter are the other's, renamed; what makes no sense is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewrite.concepts import Segmenter, labels, segmenter
from rewrite.concepts.groups import grouped, read
from rewrite.errors import RewriteError


class Six:
    """Six classes at a quarter of the images' size."""

    classes = ("sky", "wall", "door", "tree", "grass", "road")

    def __call__(self, images: Tensor) -> Tensor:
        small = torch.nn.functional.avg_pool2d(images, 4)
        return torch.cat([small, small.flip(1).square() - 0.3], 1)


IMAGES = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


@settings(deadline=None, max_examples=40)
@given(owners=st.lists(st.sampled_from(["left", "a", "b", "c"]), min_size=6, max_size=6))
def test_labels_are_the_others_renamed(owners: list[str]) -> None:
    groups: dict[str, list[str]] = {}
    for name, owner in zip(Six.classes, owners, strict=True):
        if owner != "left":
            groups.setdefault(owner, []).append(name)
    found = grouped(Six(), groups)
    assert isinstance(found, Segmenter)
    left = [name for name, owner in zip(Six.classes, owners, strict=True) if owner == "left"]
    assert found.classes == (*groups, *left)
    title = [name if owner == "left" else owner for name, owner in zip(Six.classes, owners, strict=True)]
    renamed = torch.tensor([found.classes.index(name) for name in title])[labels(Six(), IMAGES)]
    assert torch.equal(labels(found, IMAGES), renamed)


def test_the_rest_is_what_no_group_takes_in() -> None:
    found = grouped(Six(), {"other": "*", "plant": ["grass", "tree"]})
    assert found.classes == ("other", "plant")
    assert found.members == ((0, 1, 2, 5), (3, 4))
    assert grouped(Six(), {"tree": ["tree", "grass"], "way": "road"}).classes == ("tree", "way", "sky", "wall", "door")


def test_gradients_reach_the_images() -> None:
    images = IMAGES.clone().requires_grad_()
    grouped(Six(), {"all": "*"})(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"plant": ["tre"]}, "plant takes in 'tre', which is no class .* nearest: tree"),
        ({"a": ["tree"], "b": ["tree", "sky"]}, "a and b both take in tree"),
        ({"a": "*", "b": "*"}, "a and b both take in the rest"),
        ({"tree": ["grass"]}, "called tree, as is a class that no group takes in"),
        ({"a": list(Six.classes), "b": "*"}, "b is left with no class"),
        ({"a": []}, "'a' takes in .*expected names of classes"),
        ({"a": [3]}, "'a' takes in .*expected names of classes"),
        ({"a": None}, "'a' takes in None"),
        ({"": ["tree"]}, "'' takes in"),
    ],
)
def test_groups_that_make_no_sense_are_refused(groups: Any, says: str) -> None:
    with pytest.raises(RewriteError, match=says):
        segmenter(Six(), groups=groups)


def test_a_file_holds_groups_word_for_word(tmp_path: Path) -> None:
    path = tmp_path / "groups.yaml"
    path.write_text('# mine\nplant: [tree, grass]\non: [no]\n"1": door\nother: "*"\n')
    assert read(path) == {"plant": ["tree", "grass"], "on": ["no"], "1": "door", "other": "*"}
    path.write_text('{"plant": ["tree", "grass"]}')
    assert read(path) == {"plant": ["tree", "grass"]}
    assert segmenter(Six(), groups=path).classes[0] == "plant"
    assert segmenter(Six(), groups=str(path)).classes[0] == "plant"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("plant: [tree]\nplant: [grass]\n", "plant stands twice in .*, at line 2"),
        ("plant: [tree\n", "not valid YAML .* at line"),
        ("- tree\n", "holds no groups"),
        ("", "holds no groups"),
        ("plant: {tree: 1}\n", "no name at line 1"),
        ("sky: [sky]\nplant: [tree, [grass]]\n", "no name at line 2"),
        ("plant:\n", "no name at line 1"),
        ("\ud800", "not valid YAML"),
        ("plant: *x\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_none_names_the_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "groups.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(RewriteError, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match=r"none\.yaml cannot be read"):
        segmenter(Six(), groups=tmp_path / "none.yaml")
