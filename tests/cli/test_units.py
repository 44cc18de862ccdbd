"""rewrite units: ablate, scale and set as a person types them."""

from __future__ import annotations

import edits
from rewrite.models import load
from rewrite.units import again


def test_units_are_ablated_scaled_and_set(tiny, rewrite, tmp_path):
    generator = load(str(tiny))
    for verb, more in (("ablate", []), ("scale", ["--by", "0.5"]), ("set", ["--to", "0.25,1"])):
        out = tmp_path / f"{verb}.safetensors"
        asked = ["--layer", "main.3", "--units", "2,5", "--out", str(out), "--json"]
        said = rewrite("units", verb, tiny, *asked, *more)
        assert said.code == 0, said
        edit = edits.load(out)
        assert said.facts["content"] == edit.content
        assert said.facts["notes"]["exact"] is True
        assert edit.made_by["verb"] == f"units {verb}"
        assert again(generator, edit.recipe).content == edit.content
        with edits.applied(generator.module, (edit, None)):
            factor = generator.module.state_dict()["main.4.weight"]
        assert edit.recipe["units"] == [2, 5]
        assert factor.shape == (8,)


def test_what_cannot_be_done_is_one_sentence(tiny, rewrite, tmp_path):
    out = tmp_path / "e.safetensors"
    for said, *asked in (
        ("no unit", "ablate", tiny, "--layer", "main.3", "--units", "x"),
        ("from 0 to 7", "ablate", tiny, "--layer", "main.3", "--units", "9"),
        ("no layer", "ablate", tiny, "--layer", "main.9", "--units", "1"),
        ("has no units", "ablate", tiny, "--layer", "main.6", "--units", "1"),
        ("none below 0", "scale", tiny, "--layer", "main.3", "--units", "1", "--by", "-1"),
        ("never below 0", "set", tiny, "--layer", "main.3", "--units", "1", "--to", "-1"),
    ):
        rewrite("units", *asked, "--out", out).failed_with(said)
    assert not out.exists()
