"""A direction's recipe makes it again, to the byte."""

from __future__ import annotations

import pytest
import torch

import edits
from edits.file import pack
from rewrite.errors import RewriteError
from rewrite.navigation import Where, again, methods, navigate, where
from rewrite.regions import PNG_URL

LAYER = "synthesis.b16.conv1"
BOX = [0.0, 0.0, 0.5, 0.5]
BENCH = {"net": "pixels", "seeds": (0, 1), "count": 2, "latents": 4}
SEARCHES = {
    "spectrum": {"layer": LAYER},
    "hessian": {"layer": LAYER, "ansatz": 2, "more": {"cache": False}},
    "concept": {"layer": LAYER, "ansatz": 2, "region": BOX, "more": {"vectors": 4, "passes": 2}},
    "learned": {"layer": LAYER, "ansatz": 2, "more": {"basis": "hessian", "steps": 3, "passes": 2}},
    "sefa": {"layers": ("1-3",), "more": {"form": "projective", "target": 1.0}},
    "ganspace": {"more": {"samples": 64}},
    "stylespace": {"region": BOX, "more": {"samples": 64, "probes": 1}},
    "steerability": {"more": {"transforms": ("brightness",), "steps": 2}},
    "lowrankgan": {"region": BOX, "more": {"syntheses": 1, "side": 4, "relax": 8}},
    "first-layer": {"truncation": 1.0},
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def place():
    return where.box(BOX)


@pytest.mark.parametrize("method", SEARCHES)
def test_a_direction_is_made_again_from_its_recipe(small, place, tmp_path, method) -> None:
    how = SEARCHES[method] | ({"region": place} if "region" in SEARCHES[method] else {})
    for direction in navigate(small, method=method, **BENCH, **how):
        edit = direction.edit
        assert edit.recipe["model"] == "small-stylegan2"
        assert edit.recipe["direction"]["method"] == method
        edit.save(tmp_path / "edit.safetensors")
        recipe = edits.load(tmp_path / "edit.safetensors").recipe
        assert b"".join(pack(again(small, recipe))) == (tmp_path / "edit.safetensors").read_bytes()


def test_what_is_left_out_is_as_it_was_asked(small) -> None:
    search = {"method": "sefa", "index": 1, "count": 2, "net": "pixels", "calibrate_on": [0, 1]}
    edit = again(small, {"direction": search, "strength": -0.5})
    assert edit.strength == -0.5
    assert edit.recipe["model"] == "small-stylegan2"
    assert b"".join(pack(again(small, edit.recipe))) == b"".join(pack(edit))
    found = navigate(small, method="sefa", net="pixels", seeds=(0, 1), count=2)[1].edit
    assert found.content == edit.content


def test_a_mask_is_part_of_the_recipe(small, tmp_path) -> None:
    import base64
    import io

    from PIL import Image

    stream = io.BytesIO()
    picture = Image.new("L", (8, 8))
    picture.paste(255, (0, 0, 4, 8))
    picture.save(stream, "PNG")
    mask = where.mask(PNG_URL + base64.b64encode(stream.getvalue()).decode())
    [direction] = navigate(
        small, method="stylespace", net="pixels", seeds=(0, 1), count=1, latents=2, region=mask,
        more={"samples": 16, "probes": 1},
    )  # fmt: skip
    assert b"".join(pack(again(small, direction.edit.recipe))) == b"".join(pack(direction.edit))


def test_what_no_recipe_can_hold_has_none(small) -> None:
    everywhere = Where("everywhere", lambda images: torch.ones_like(images[:, :1]))
    asked = {"net": "pixels", "seeds": (0, 1), "count": 1, "latents": 2}
    [one] = navigate(small, method="stylespace", region=everywhere, more={"samples": 16, "probes": 1}, **asked)
    [other] = navigate(
        small, method="stylespace",
        more={"samples": 16, "exemplars": 2, "scores": lambda images: images.mean((1, 2, 3))}, **asked,
    )  # fmt: skip
    assert one.edit.recipe is None
    assert other.edit.recipe is None


REFUSED = {
    "another kind": ({"paste": []}, "the recipe of a direction: "),
    "nothing": (None, "the recipe of a direction: it is 'None'"),
    "no method": ({"direction": {}}, "direction.method is missing"),
    "an unknown method": ({"direction": {"method": "sefaa"}}, "nearest: sefa"),
    "an unknown field": ({"direction": {"method": "sefa", "layer": "x"}}, "there is no field direction.layer"),
    "a number that is a word": ({"direction": {"method": "sefa", "count": "two"}}, "direction.count is 'two'"),
    "an index that is not found": (
        {"direction": {"method": "sefa", "index": 2, "count": 2}},
        "asks for direction 2 of sefa, which finds 2",
    ),
    "somebody's code": ({"direction": {"method": "concept", "segmenter": "os:system"}}, "direction.segmenter is"),
    "a mask that lies beside": ({"direction": {"method": "sefa", "region": "mask.png"}}, "expected a PNG"),
    "another model's": ({"model": "ffhq", "direction": {"method": "sefa"}}, "'ffhq'"),
    "an option of another kind": ({"direction": {"method": "sefa", "with": {"images": 3}}}, "something like 'last'"),
    "an option that is no number": (
        {"direction": {"method": "hessian", "layers": [LAYER], "net": "pixels", "with": {"passes": "many"}}},
        "passes is 'many'; expected a whole number",
    ),
    "a strength without end": ({"direction": {"method": "sefa"}, "strength": 1e9}, "strength is"),
    "one seed to calibrate on": ({"direction": {"method": "sefa", "calibrate_on": [1]}}, "direction.calibrate_on is"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_makes_no_direction_is_refused(small, how) -> None:
    recipe, words = REFUSED[how]
    with pytest.raises(RewriteError) as caught:
        again(small, recipe)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"seeds": [1]}, "calibrate_on"),
        ({"strength": -1.0}, "distance is '-1.0'"),
        ({"net": "pd-lite1"}, "pd-lite1"),
        ({"eye": "nobody"}, "nobody"),
        ({"region": where.box(BOX)}, "sefa looks at no place"),
        ({"truncation": 0.0}, "2 seeds are all alike"),
    ],
)
def test_what_nobody_can_ask_for_is_told_before_the_search(small, monkeypatch, more, words) -> None:
    monkeypatch.setattr(methods, "method", lambda _: pytest.fail)
    with pytest.raises(RewriteError, match=words):
        navigate(small, **{"method": "sefa", "net": "pixels", "count": 1, "seeds": (0, 1)} | more)
