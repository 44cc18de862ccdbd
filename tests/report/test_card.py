"""A card says what there is to say, in the form that the hub reads, and nothing it quotes is Markdown."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import yaml
from markdown_it import MarkdownIt

import edits
from edits import Add, Dense, LowRank
from rewrite.report.card import Card

WEIGHTS = {"layer.weight": torch.zeros(4, 3), "bias": torch.zeros(2)}
SLY = 'a|b</td><script>alert(1)</script> [x](javascript:y) `code` ``` ![i](j) {"k": *v*} # head\n---\nlicense: mit'


def edit_of(**facts) -> edits.Edit:
    low = LowRank(torch.ones(4, 2), torch.ones(2, 3), (0,), (1,))
    return edits.Edit(
        {"layer.weight": (Add((4, 3), low),)}, edits.describe(WEIGHTS, ["layer.weight"], ["bias"], "dcgan"), **facts
    )


@pytest.fixture
def card() -> Card:
    edit = edit_of(
        strength=0.75,
        recipe={"model": "faces64", "copy": {"mask": "data:image/png;base64," + "A" * 400}},
        notes={"residual": 0.123456, "background_shift": 0.01, "auto": {"deep": 1}},
    )
    return Card(
        edit, "glasses.safetensors", 4242, licence="CC-BY-NC-4.0", sheet="my sheets/one.png",
        model={"name": "faces64", "about": "DCGAN, faces", "licence": "MIT", "origin": "somebody"},
        verdict={
            "outcome": "PASS", "samples": 1000, "conditions": {"eye": "lite0", "first seed": 0},
            "judgements": [{"name": "harm", "outcome": "PASS", "limit": {"most": 1.0}}],
            "findings": {"harm": {"value": 0.5, "interval": [0.4, 0.6]}},
        },
        bounds={"limits": {"harm": {"most": 1.0}, "effect": {"least": 0.2, "most": None}}},
        address="hf://user/repo/glasses.safetensors",
    )  # fmt: skip


def front(text: str) -> dict:
    opening, matter, body = text.split("---\n", 2)
    assert opening == ""
    assert body.startswith("\n# ")
    return yaml.safe_load(matter)


def html(text: str) -> str:
    """As the hub renders it, or nearly: CommonMark with tables, raw HTML let through."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text.split("---\n", 2)[2])


def test_front_matter(card: Card) -> None:
    facts = front(card.markdown())
    assert facts == {
        "license": "cc-by-nc-4.0",
        "library_name": "rewrite",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["weight-editing", "image-generation", "gan", "dcgan"],
    }
    own = front(replace(card, licence="My Own Licence 1.0, all rights").markdown())
    assert (own["license"], own["license_name"]) == ("other", "my-own-licence-1.0-all-rights")
    assert front(replace(card, licence=None).markdown())["license"] == "unknown"


def test_the_front_matter_is_what_the_hub_reads(card: Card) -> None:
    data = pytest.importorskip("huggingface_hub").ModelCard(card.markdown()).data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "cc-by-nc-4.0", "rewrite", "unconditional-image-generation",
    )  # fmt: skip


def test_everything_is_said(card: Card) -> None:
    text, shown = card.markdown(), html(card.markdown())
    base = card.edit.base.touched["layer.weight"].digests.float32
    for word in (
        card.edit.content, "4,242 bytes", "strength 0.75", base, "hf://user/repo/glasses.safetensors", "0.1235", "PASS",
        "at most 1", "at least 0.2", "0.4 to 0.6", "lite0", "model: faces64", "image/png, 300 bytes", "somebody",
    ):  # fmt: skip
        assert word in text, word
    assert "AAAA" not in text
    assert "deep" not in text
    assert '<img src="my%20sheets/one.png"' in shown
    assert shown.count("<table>") == 6
    titles = ("Use", "What it changes", "What it was measured to do", "Verdict", "Base", "Recipe", "Licence")
    assert all(f"<h2>{title}</h2>" in shown for title in titles)


def test_what_is_not_known_is_left_out() -> None:
    shown = html(Card(edit_of(), "e.safetensors", 1).markdown())
    assert all(f"<h2>{title}</h2>" not in shown for title in ("Verdict", "Recipe", "What it was measured to do"))
    assert "<img" not in shown
    assert "states no licence" in shown


def test_members_of_a_composed_edit_are_listed() -> None:
    other = edits.Edit({"bias": (Add((2,), Dense(torch.ones(2))),)}, edits.describe(WEIGHTS, ["bias"]))
    both = edits.compose([(edit_of(), 0.5), (other, -1.0)])
    text = Card(both, "both.safetensors", 1).markdown()
    for member, coefficient in both.members:
        assert f"| `{member.content[:12]}` | {coefficient:.4g} |" in text


def test_what_is_quoted_is_neither_markdown_nor_html_nor_front_matter() -> None:
    tensors = {(name := SLY.replace("\n", " ")): torch.zeros(2)}
    edit = edits.Edit(
        {name: (Add((2,), Dense(torch.ones(2))),)}, edits.describe(tensors, [name], architecture=SLY),
        recipe={"model": SLY, SLY: [SLY]}, notes={SLY: SLY}, made_by={SLY: SLY},
    )  # fmt: skip
    facts = {"outcome": SLY, "samples": SLY, "conditions": {SLY: SLY}, "judgements": [{"name": SLY, "outcome": SLY}]}
    text = Card(
        edit, f"{SLY}.safetensors", 1, licence=SLY, model={"name": SLY, "about": SLY, "origin": SLY, "licence": SLY},
        sheet=SLY, verdict=facts, bounds={"limits": {SLY: {"most": 1.0}}},
    ).markdown()  # fmt: skip
    assert front(text)["license"] == "other"
    shown = html(text)
    for mark in ("<script", 'javascript:y"', "<em>", "<h1>head", "<hr"):
        assert mark not in shown, mark
    assert shown.count("<img") == 1
    assert shown.count("<h1>") == 1
    assert set(front(text)) == {"license", "license_name", "library_name", "pipeline_tag", "tags"}


@pytest.mark.parametrize("verdict", [{}, {"judgements": 3, "findings": 1, "conditions": []}, {"judgements": [1, None]}])
def test_a_verdict_of_another_shape_does_no_harm(card: Card, verdict) -> None:
    assert replace(card, verdict=verdict, bounds={"limits": 7}).markdown()
