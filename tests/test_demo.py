"""The demonstration, on the built-in generator: what it writes, and what it leaves out."""

from dataclasses import replace
from pathlib import Path

import pytest

import edits
from rewrite import demo
from rewrite.errors import RewriteError

SMALL = replace(demo.PARTS[0], seeds=(1, 2), size=64)


def test_it_writes_edits_a_sheet_and_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    shown = demo.run(tmp_path, parts=[SMALL])
    assert not shown.left_out
    made = {path.stem: edits.load(path) for path in (tmp_path / "scenes").glob("*.safetensors")}
    assert set(made) == {*SMALL.rules, "both"}
    members = [made[name] for name in SMALL.rules]
    assert made["both"].content == edits.compose([(edit, 1.0) for edit in members]).content
    page = shown.page.read_text()
    assert all(text in page for text in SMALL.rules.values())
    assert "data:image/" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_generator_that_cannot_be_fetched_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(name: str, **_: object) -> Path:
        raise RewriteError(f"no network for {name}")

    monkeypatch.setattr(demo, "pull", fails)
    shown = demo.run(tmp_path, parts=[replace(SMALL, model="ffhq")])
    assert shown.left_out == ["ffhq is left out: no network for ffhq"]
    assert "no network for ffhq" in shown.page.read_text()
