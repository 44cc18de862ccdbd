"""The page of an audit: whole, alone, escaped; outlines that can be drawn back."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from rewrite.report.audit import Shot, audit_page, outline


class Tags(HTMLParser):
    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, _attrs):
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, _attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def meaning(concept, iou, holds=True):
    return {
        "concept": concept, "iou": iou, "quality": 0.1, "z": 4.0, "p": 0.001 if holds else 0.5, "on": 0.01,
        "ious": [iou, 0.0], "holds": holds,
    }  # fmt: skip


def unit(index, before, after=None):
    found = {
        "index": index, "threshold": 0.5, "mean": 0.1, "deviation": 0.2, "largest": 3.0, "meaning": before, "top": [],
        "edited": after, "removed": 0.25, "removed_error": 0.01, "removed_by_lot": None,
    }  # fmt: skip
    return found | ({"change": abs(after["iou"] - before["iou"])} if after else {})


def example(edited: bool = True):
    units = [
        unit(0, meaning("</script><b>", 0.3), meaning("sky", 0.1) if edited else None),
        unit(1, meaning("sky", 0.02, holds=False), meaning("sky", 0.02, holds=False) if edited else None),
    ]
    return {
        "model": "toy <1>", "resolution": 16, "concepts": ["</script><b>", "sky"], "causes": [{"images": 8}],
        "layers": [{"name": "body", "grid": [8, 8], "units": units}],
        "areas": [{"concept": "sky", "before": 0.5, "after": 0.4, "change": -0.1, "error": 0.01}] if edited else [],
        "edits": [{"content": "0123456789abcdef", "strength": 0.5}] if edited else [],
        "settings": {
            "protocol": "iqr", "truncation": 1.0, "noise": "const", "segmenter": "scenes", "deals": 10,
            "judged_on": 24, "least_p": 1 / 11, "least_iou": 0.04, "level": 0.05,
            "choosing": {"stream": 2, "rows": 16}, "scoring": {"stream": 1, "rows": 24},
        },
    }  # fmt: skip


def data(html):
    found = re.search(r'id="data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize("edited", [False, True])
def test_the_page_is_whole_and_asks_for_nothing(edited):
    html = audit_page(example(edited), [Image.new("RGB", (20, 10), "red")])
    tags = Tags()
    tags.feed(html)
    assert not tags.open
    assert tags.seen.isdisjoint({"link", "iframe", "object"})
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|fetch\(|XMLHttpRequest|import\(", html)
    assert "default-src 'none'" in html
    assert set(re.findall(r"https?://[^\s\"']+", html)) == {"http://www.w3.org/2000/svg"}
    assert ("What the edits changed" in html) == edited


def test_words_stay_words():
    html = audit_page(example())
    assert "toy &lt;1&gt;" in html
    assert "<b>" not in html
    assert data(html)["concepts"] == ["</script><b>", "sky"]


def test_figures_are_those_of_the_audit():
    shots = {("body", 0): [Shot(0, 7, "M0 0h1", (8, 8))]}
    found = data(audit_page(example(), [Image.new("RGB", (8, 8))], shots))
    first, second = found["units"]
    assert (first["concept"], first["iou"], first["after"]["concept"]) == (0, 0.3, 1)
    assert first["change"] == pytest.approx(0.2)
    assert (first["removed"], first["removedError"], first["byLot"]) == (0.25, 0.01, None)
    assert first["shots"] == [[0, "M0 0h1", 8, 8, 7]]
    assert (second["holds"], second["shots"]) == (False, [])
    html = audit_page(example(), names={"0123456789abcdef": "spires"})
    for words in ("spires at 0.5", "-10.000", "2 units of 1 layer", "1 mean one of them"):
        assert words in html, words


def test_bars_are_as_long_as_counts():
    facts = example(edited=False)
    facts["layers"][0]["units"] = [unit(i, meaning("sky" if i else "sea", 0.3)) for i in range(5)]
    facts["concepts"] = ["sea", "sky"]
    html = audit_page(facts)
    found = dict(re.findall(r'width="([\d.]+)" height="\d+" rx="2"/><text class="count"[^>]*>(\d+)<', html))
    assert found == {"196.0": "4", "49.0": "1"}


def test_an_outline_is_the_border_of_its_mask():
    for seed in range(20):
        mask = np.random.default_rng(seed).random((5, 7)) > 0.5
        assert (filled(outline(mask), mask.shape) == mask).all()
    assert outline(np.ones((2, 3), dtype=bool)) == "M0 0h3M0 2h3M0 0v2M3 0v2"
    assert outline(np.zeros((2, 3), dtype=bool)) == ""


def filled(path, shape):
    """What lies within: an odd number of runs across above it."""
    inside = np.zeros(shape, dtype=bool)
    for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)", path):
        inside[int(y) :, int(x) : int(x) + int(length)] ^= True
    return inside
