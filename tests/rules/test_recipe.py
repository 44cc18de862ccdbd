"""Recipes: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from PIL import Image

from rewrite.errors import RewriteError
from rewrite.rules import Recipe, parse, read

GOOD = {
    "model": "ffhq",
    "layer": "layers.1.conv2",
    "copy": {"seed": 1, "box": [0.2, 0.3, 0.8, 0.5]},
    "paste": [{"seed": 2, "box": [0.2, 0.3, 0.8, 0.5]}, {"stream": 1, "row": 7, "polygon": [[0, 0], [1, 0], [1, 1]]}],
}


def changed(**changes):
    data = json.loads(json.dumps(GOOD))
    for path, value in changes.items():
        *parents, last = path.split("__")
        inner = data
        for part in parents:
            inner = inner[int(part) if part.isdigit() else part]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return data


def test_a_recipe_reads_back_equal():
    recipe = parse(GOOD)
    assert parse(recipe.as_json()) == recipe
    assert parse(json.loads(json.dumps(recipe.as_json()))).as_json() == recipe.as_json()


def test_the_context_is_the_paste_regions_unless_given():
    assert parse(GOOD).where == parse(GOOD).paste
    assert parse(changed(context=[GOOD["copy"]])).where == (parse(GOOD).source,)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "unknown field 'colour'; fields are model, layer, copy"),
        ({"copy__seeds": 3}, "unknown field 'seeds' in copy"),
        ({"copy__seed": "three"}, "copy.seed is 'three'; expected a whole number"),
        ({"strength": 0}, "strength 0 is no rule"),
        ({"strength": 1e300}, "strength"),
        ({"paste__1__polygon": [[0, 0], [0.5, 0.5], [1, 1]]}, "paste.1: the polygon covers nothing"),
        ({"copy__seed": "3"}, "copy.seed is '3'"),
        ({"copy__seed": 2**32}, "copy.seed is '4294967296'"),
        ({"copy__seed": 1.5}, "copy.seed is '1.5'"),
        ({"copy__seed": True}, "copy.seed is 'True'"),
        ({"paste__0__box": [0.5, 0.5, 0.5, 0.9]}, r"paste.0: box \[0.5, 0.5, 0.5, 0.9\] covers nothing"),
        ({"paste__0__box": [0.5, 0.5, 0.9]}, "paste.0.box"),
        ({"paste__0__seed": None}, "paste.0: a region has one latent"),
        ({"paste__1__row": None}, "paste.1: stream and row belong together"),
        ({"paste__1__box": [0, 0, 1, 1]}, "paste.1: a region has one shape"),
        ({"paste": []}, "paste is"),
        ({"paste": None}, "paste is missing"),
        ({"layer": None}, "layer is missing"),
        ({"copy": None}, "either a copy or an erase"),
        ({"erase": {"units": 5}}, "either a copy or an erase"),
        ({"rank": 0}, "rank"),
        ({"rank": "lots"}, "rank"),
        ({"mu": -1}, "mu"),
        ({"mu": float("nan")}, "mu"),
        ({"strength": float("inf")}, "strength"),
        ({"fit": "warp"}, "fit is 'warp'"),
        ({"samples": 0}, "samples"),
    ],
)
def test_a_bad_recipe_is_one_sentence_that_names_the_field(changes, words):
    with pytest.raises(RewriteError, match=words) as error:
        parse(changed(**changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [None, [], "recipe", 3])
def test_what_is_no_mapping(data):
    with pytest.raises(RewriteError, match="expected a mapping"):
        parse(data)


def test_files_in_yaml_and_json_and_their_masks(tmp_path):
    Image.new("L", (8, 8), 255).save(tmp_path / "mask.png")
    data = changed(copy__box=None, copy__mask="mask.png")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data))
    (tmp_path / "recipe.json").write_text(json.dumps(data))
    recipe = read(tmp_path / "recipe.yaml")
    assert recipe == read(tmp_path / "recipe.json")
    assert recipe.source.mask.startswith("data:image/png;base64,")
    assert recipe.source.coverage((4, 4)).eq(1).all()
    assert read(tmp_path / "recipe.yaml", rank=3, mu=None).rank == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"copy: [", "not valid YAML at line 1"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"", "expected a mapping"),
        (b"!!python/object/apply:os.system ['true']", "not valid YAML"),
        (b"[" * 100_000, "not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, content, words):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RewriteError, match=words):
        read(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(RewriteError, match="cannot be read"):
        read(tmp_path / "none.yaml")


def mask_file(tmp_path, **changes):
    Image.new("RGBA", (8, 8), (255, 255, 255, 255)).save(tmp_path / "mask.png")
    url = parse(changed(copy__box=None, copy__mask=str(tmp_path / "mask.png"))).source.mask
    data = {"object": [3, url], "paste": [4, url], "key": [[5, url], [6, url]], **changes}
    (tmp_path / "masks.json").write_text(json.dumps(data))
    return tmp_path / "masks.json"


def test_a_mask_file_of_the_rewriting_project(tmp_path):
    recipe = read(mask_file(tmp_path), layer="layer8", rank=1, truncation=0.5)
    assert isinstance(recipe, Recipe)
    assert (recipe.source.stream, recipe.source.row) == (1, 3)
    assert [region.row for region in recipe.paste] == [4]
    assert [region.row for region in recipe.where] == [5, 6]


def test_a_mask_file_without_keys_has_its_paste_for_context(tmp_path):
    recipe = read(mask_file(tmp_path, key=[]), layer="layer8", rank=1, truncation=0.5)
    assert recipe.context is None


def test_what_a_mask_file_does_not_say_is_asked_for(tmp_path):
    with pytest.raises(RewriteError, match=r"does not say rank, truncation; add --rank \.\.\. --truncation \.\.\."):
        read(mask_file(tmp_path), layer="layer8")


@pytest.mark.parametrize("broken", [{"object": 3}, {"paste": [4]}, {"key": [[1]]}, {"key": 5}, {"object": ["a", "b"]}])
def test_a_broken_mask_file(tmp_path, broken):
    with pytest.raises(RewriteError, match="mask"):
        read(mask_file(tmp_path, **broken), layer="layer8", rank=1, truncation=0.5)


BOMB = "\n".join(["a0: &a0 [1]", *(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(9))])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, "at line 1 .*anchors"),
        ("layer: a\npaste: &self [*self]", "at line 2 .*anchors"),
        ("layer: *none", "anchors"),
        ("mu: 1\nlayer: a\nmu: 2", "at line 3 .*'mu' stands twice"),
        ('{"copy": {"seed": 1, "seed": 2}}', "'seed' stands twice"),
        ("mu: 2001-99-99", "not valid YAML"),
        ("mu: " + "9" * 5000, "not valid YAML"),
        ("mu: !!bool maybe", "not valid YAML"),
        ("mu: !!timestamp never", "not valid YAML"),
        ('mu: !!int ""', "not valid YAML"),
        ("!!map [1]", "not valid YAML"),
    ],
)
def test_yaml_that_says_more_than_a_recipe(tmp_path, content, words):
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(RewriteError, match=words) as error:
        read(tmp_path / "recipe.yaml")
    assert "\n" not in str(error.value)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(RewriteError, match=r"cannot be read \(it is no regular file"):
            read(path)
