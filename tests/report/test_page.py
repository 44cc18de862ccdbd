from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from rewrite.report import EditFacts, Section, Sheet, edits_table, page, save_page, timings_table


def example() -> str:
    edits = [
        EditFacts("glasses", "ffhq", "layers.1.conv2", 64, 0.3341, 0.297, 265712),
        EditFacts("both", None, None, None, None, None, 532112),
    ]
    return page(
        "Two <rules>",
        "An intro.",
        [
            Section("What they do", "Words.", sheets=[Sheet(Image.new("RGB", (90, 30), "red"), "Faces.", "Rows")]),
            Section("Files", tables=[edits_table(edits, "Both edits"), timings_table([("solving", 0.2)])]),
        ],
        footer="The end.",
    )


class Tags(HTMLParser):
    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_stands_alone() -> None:
    html, tags = example(), Tags()
    tags.feed(html)
    assert not tags.open
    assert not tags.seen & {"script", "link", "iframe"}
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import", html)
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_words_are_escaped() -> None:
    assert "Two &lt;rules&gt;" in example()
    assert "<rules>" not in example()


def test_pictures_are_inside() -> None:
    found = re.search(r'src="data:image/jpeg;base64,([^"]+)"', example())
    assert found
    picture = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert picture.size == (90, 30)


def test_tables_say_what_is_known() -> None:
    html = example()
    for cell in ("glasses", "layers.1.conv2", "64", "0.334", "0.297", "265,712", "–", "0.20"):
        assert f">{cell}</td>" in html


def test_the_same_page_is_the_same_file(tmp_path: Path) -> None:
    save_page(example(), tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text() == example()
