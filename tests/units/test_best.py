"""The best units of an audit, silenced: those that are named, their concept gone, and the figures where they belong."""

from __future__ import annotations

import csv
import io

import pytest

from rewrite.errors import RewriteError
from rewrite.units import audit, caused, silenced
from rewrite.units.best import best

PLANTED = 5


def test_the_best_unit_of_each_concept_is_silenced(toy, segmenter):
    found = audit(toy, segmenter=segmenter, samples=128, choose=64)
    assert best(found)["body"].count(PLANTED) == 1
    known = caused(toy, found, segmenter, samples=24, controls=1)
    assert known.layers == found.layers
    at = found.concepts.index("door")
    measured = known.effect("body", PLANTED)
    assert measured is not None
    (direct,) = silenced(toy, "body", [(PLANTED,)], segmenter, samples=24, controls=1).effects
    assert measured[1] == direct
    assert direct.removed[at] is not None
    assert direct.removed[at] > 0.5
    lines = list(csv.DictReader(io.StringIO(known.as_csv())))
    assert float(lines[PLANTED]["removed"]) == pytest.approx(direct.removed[at], rel=1e-5)
    assert lines[PLANTED]["removed by lot"]
    silent = [line["unit"] for line in lines if not line["removed"]]
    assert len(silent) == 8 - len(best(found)["body"])
    assert known.as_json()["layers"][0]["units"][PLANTED]["removed"] == pytest.approx(direct.removed[at], rel=1e-5)
    assert known.as_json()["causes"][0]["layer"] == "body"


def test_causes_go_on_where_they_were(toy, segmenter, monkeypatch):
    monkeypatch.setattr("rewrite.units.features.MOST", 8)
    whole = silenced(toy, "body", [(PLANTED,), (2, 3)], segmenter, samples=20, controls=1)

    class Stopped(Exception):
        pass

    def stop(_what, done, _total):
        if done >= 16:
            raise Stopped

    asked = {"samples": 20, "controls": 1, "cache": True}
    with pytest.raises(Stopped):
        silenced(toy, "body", [(PLANTED,), (2, 3)], segmenter, progress=stop, **asked)
    seen = []
    again = silenced(toy, "body", [(PLANTED,), (2, 3)], segmenter, progress=lambda *said: seen.append(said[1]), **asked)
    assert again == whole
    assert min(seen) == 16


def test_a_segmenter_may_be_named_and_grouped(toy, tmp_path, monkeypatch):
    (tmp_path / "bright.py").write_text(
        "def bright(images):\n    return images\n\n\nbright.classes = ('r', 'g', 'b')\n"
    )
    monkeypatch.chdir(tmp_path)
    found = audit(toy, segmenter="bright:bright", groups={"warm": ["r", "g"]}, samples=16, deals=5)
    assert found.concepts == ("warm", "b")
    assert found.settings["segmenter"] == "bright:bright"
    assert found.settings["groups"] == {"warm": ["r", "g"]}
    with pytest.raises(RewriteError, match="none was given"):
        audit(toy, groups={"warm": ["r"]}, samples=16)


def test_another_segmenter_is_refused(toy, segmenter):
    found = audit(toy, samples=16)
    with pytest.raises(RewriteError, match="no concepts"):
        caused(toy, found, segmenter)
