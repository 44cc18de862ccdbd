"""Edits and stacks in a notebook: small, and safe whatever they say."""

from __future__ import annotations

from html.parser import HTMLParser

import torch

from edits import Add, Dense, Stack, compose, display

SLY = "<script>alert(\"1\")</script>&<b x='y'>"


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, _attributes) -> None:
        self.tags.append(tag)

    def handle_data(self, data) -> None:
        self.words.append(data)


ALLOWED = {"table", "caption", "b", "tr", "th", "td", "p"}


def test_an_edit_shows_its_operations_and_figures(make, net) -> None:
    edit = make.edit(net, 1, ("linear", "gain"), strength=1.0, notes={"residual": 0.25, "auto": {"deep": 1}})
    shown = Tags(edit._repr_html_())
    assert set(shown.tags) <= ALLOWED
    assert shown.tags.count("tr") == 1 + len(edit.rows)
    text = " ".join(shown.words)
    assert all(word in text for word in (edit.content[:12], "linear", "gain", "residual: 0.25"))
    assert "deep" not in text


def test_what_a_file_says_is_escaped(make, net) -> None:
    tensors = {SLY: torch.ones(2)}
    edit = make.single(tensors, SLY, Add((2,), Dense(torch.ones(2))), notes={SLY: SLY})
    shown = Tags(edit._repr_html_())
    assert "script" not in shown.tags
    assert set(shown.tags) <= ALLOWED
    assert SLY in " ".join(shown.words)


def test_a_stack_shows_strengths_force_and_disturbance(make, net) -> None:
    stack = Stack(net)
    assert "Stack on Net" in stack._repr_html_()
    stack.push(make.edit(make.Net(3), 1, ("linear",)), 1.0, force=True)
    both = compose([(make.edit(net, 2, ("bias",)), 1.0)])
    stack.push(both)
    with torch.no_grad():
        net.bias.add_(1)
    text = " ".join(Tags(stack._repr_html_()).words)
    assert all(word in text for word in (both.content[:12], "linear", "changed behind its back: bias"))


def test_many_rows_and_long_words_are_cut(make) -> None:
    names = [f"p{i}" * 100 for i in range(display.MOST_ROWS + 5)]
    tensors = {name: torch.ones(1) for name in names}
    edit = compose([(make.single(tensors, name, Add((1,), Dense(torch.ones(1)))), 1.0) for name in names])
    html = edit._repr_html_()
    assert "and 5 more" in html
    assert len(html) < 300 * display.MOST_ROWS
