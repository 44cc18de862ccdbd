"""A summary on one page: HTML that holds its pictures, asks the network for nothing and runs no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import jinja2
from PIL import Image

from edits.file import write_atomically
from rewrite.report.describe import EditFacts

JPEG_QUALITY = 90


@dataclass(frozen=True)
class Sheet:
    """A picture with words to it; `alt` tells what it shows to those who do not see it."""

    image: Image.Image
    caption: str = ""
    alt: str = ""

    @property
    def url(self) -> str:
        """The picture as a data URL: JPEG, a quarter of a PNG's size where the picture is a photo."""
        stream = io.BytesIO()
        self.image.convert("RGB").save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


@dataclass(frozen=True)
class Table:
    """Cells as text; columns named in `numeric` are set flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: Sequence[str] = ()


@dataclass(frozen=True)
class Download:
    """A link to a file: beside the page, or a data URL that holds it."""

    text: str
    url: str
    name: str
    """What the file is called where it is saved."""


@dataclass(frozen=True)
class Section:
    """A title, a paragraph, sheets, tables and downloads, in this order."""

    title: str
    intro: str = ""
    sheets: Sequence[Sheet] = ()
    tables: Sequence[Table] = ()
    downloads: Sequence[Download] = ()


def page(title: str, intro: str = "", sections: Sequence[Section] = (), *, footer: str = "") -> str:
    """The HTML of a page; all words are plain text, escaped here."""
    return _template().render(title=title, intro=intro, sections=sections, footer=footer)


def save_page(html: str, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_atomically(path, html.encode())


def edits_table(edits: Iterable[EditFacts], caption: str = "") -> Table:
    """Edits by name, where they act, and what they promise."""
    columns = ("edit", "model", "layer", "rank", "residual", "background shift", "bytes")
    rows = [
        (
            edit.name,
            edit.model or "–",
            edit.layer or "–",
            _number(edit.rank, "d"),
            _number(edit.residual, ".3f"),
            _number(edit.background_shift, ".3f"),
            _number(edit.bytes, ",d"),
        )
        for edit in edits
    ]
    return Table(columns, rows, caption, numeric=columns[3:])


def timings_table(seconds: Iterable[tuple[str, float]], caption: str = "") -> Table:
    """What took how long."""
    rows = [(what, f"{taken:.2f}") for what, taken in seconds]
    return Table(("step", "seconds"), rows, caption, numeric=("seconds",))


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


@cache
def _template() -> jinja2.Template:
    text = files("rewrite.report").joinpath("templates/page.html.jinja").read_text(encoding="utf-8")
    made = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.from_string(text)
