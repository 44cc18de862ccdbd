"""A model card of an edit, in Markdown with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote as quoted
from typing import Any
from urllib.parse import quote

import yaml

import edits
from rewrite.report.describe import abridged

TAGS = ("weight-editing", "image-generation", "gan")
LICENCES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense",
    "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "openrail", "unknown",
)  # fmt: skip
"""Identifiers that the hub knows; any other licence is "other", with a name."""
_MARKS = re.compile(r"([\\`*_{}\[\]#|<>~$&])")


@dataclass(frozen=True)
class Card:
    """What a card is made of; None or empty is left out."""

    edit: edits.Edit
    file: str
    """Name of the edit's file."""
    size: int
    """Its bytes."""
    licence: str | None = None
    model: Mapping[str, Any] | None = None
    """Of the base: name, about, licence, origin."""
    sheet: str | None = None
    """Path of a picture, from where the card lies."""
    verdict: Mapping[str, Any] | None = None
    """Facts of a check, as in verdict.json."""
    bounds: Mapping[str, Any] | None = None
    """Limits, as in bounds.json."""
    address: str | None = None
    """Where it can be had: hf://user/repo/file."""
    fetch: str | None = None
    """A command that brings the file here first."""

    def markdown(self) -> str:
        """The text of the card."""
        edit, name = self.edit, self.file.removesuffix(".safetensors")
        recipe = [_block("yaml", _yaml(abridged(edit.recipe)))] if edit.recipe is not None else []
        parts = [
            f"# {_text(name)}",
            self._lead(),
            f"![{_text(name)}: base and edited images]({quote(self.sheet)})" if self.sheet else "",
            *_section("Use", [self._use()]),
            *_section("What it changes", [self._operations(), self._members()]),
            *_section("What it was measured to do", [_table(("figure", "value"), _figures(edit.notes))]),
            *_section("Verdict", self._verdict()),
            *_section("Base", [self._base()]),
            *_section("Recipe", recipe),
            *_section("Licence", [self._terms()]),
        ]
        return f"---\n{self._front()}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"

    def _front(self) -> str:
        licence = (self.licence or "unknown").strip()
        known = licence.lower() in LICENCES
        facts = {
            "license": licence.lower() if known else "other",
            **({} if known else {"license_name": _slug(licence)}),
            "library_name": "rewrite",
            "pipeline_tag": "unconditional-image-generation",
            "tags": [*TAGS, *([_slug(self.edit.base.architecture)] if self.edit.base.architecture else [])],
        }
        return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=10_000)

    def _lead(self) -> str:
        about = f", {_text(self.model['about'])}" if self.model and self.model.get("about") else ""
        base = f"{_code(self._base_name())}{about}" if self._base_name() else "an image generator"
        return (
            f"An edit of the weights of {base}: {self.size:,} bytes, strength {self.edit.strength:g}, content "
            f"{_code(self.edit.content)}. It is a small change that is added to the weights, checked against them, and "
            f"undone to the bit."
        )

    def _use(self) -> str:
        place, model = self.address or self.file, self._base_name() or "MODEL"
        at = quoted(place)
        first = f"{self.fetch}\n" if self.fetch else ""
        commands = (
            f"{first}rewrite show {at}\nrewrite sample {quoted(model)} --edit {at} --seeds 0-15 --out samples.png"
        )
        loading = "from rewrite import hub\nedit = hub.load" if self.address else "edit = edits.load"
        code = (
            f"import edits, rewrite\n{loading}({place!r})\ngenerator = rewrite.load({model!r})\n"
            f"with edits.applied(generator.module, (edit, None)):\n"
            f"    images = generator.synthesize(generator.latents([1, 2, 3]))"
        )
        return f"{_block('sh', commands)}\n\n{_block('python', code)}"

    def _operations(self) -> str:
        rows = [
            (_code(row.parameter), f"{row.kind}, {row.form}", " x ".join(map(str, row.shape)), row.rank, row.norm)
            for row in self.edit.rows
        ]
        return _table(("parameter", "does", "shape", "rank", "norm"), rows)

    def _members(self) -> str:
        rows = [(_code(one.content[:12]), weight, _listed(one.touched)) for one, weight in self.edit.members]
        return _table(("member", "coefficient", "touches"), rows) if rows else ""

    def _verdict(self) -> list[str]:
        parts = []
        if self.verdict:
            said = f"{_text(self.verdict.get('outcome'))}, on {_text(self.verdict.get('samples'))} seeds."
            judged = self.verdict.get("judgements")
            listed = judged if isinstance(judged, list) else []
            rows = [self._judgement(one) for one in listed if isinstance(one, Mapping)]
            parts += [f"**{said}**", _table(("finding", "value", "95 % interval", "limit", "verdict"), rows)]
            parts.append(_table(("looked at", "with"), _figures(_object(self.verdict, "conditions"))))
        if self.bounds:
            rows = [(_text(name), _limit(limit)) for name, limit in sorted(_object(self.bounds, "limits").items())]
            parts.append(_table(("bound", "limit"), rows))
        return parts

    def _judgement(self, one: Mapping[str, Any]) -> tuple[object, ...]:
        found = _object(_object(self.verdict or {}, "findings"), str(one.get("name")))
        interval = found.get("interval")
        between = " to ".join(map(_number, interval)) if isinstance(interval, list) else ""
        return _text(one.get("name")), found.get("value"), between, _limit(one.get("limit")), _text(one.get("outcome"))

    def _base(self) -> str:
        base = self.edit.base
        origin = [f"Origin: {_text(self.model['origin'])}."] if self.model and self.model.get("origin") else []
        rows = [(_code(name), _code(known.digests.float32)) for name, known in base.touched.items()]
        above = f"{len(base.upstream.names)} tensors upstream were recorded as well." if base.upstream else ""
        lines = [*origin, "It is refused on other weights than these (SHA-256 of their float32 values).", above]
        return " ".join(line for line in lines if line) + "\n\n" + _table(("parameter", "base"), rows)

    def _terms(self) -> str:
        said = f"The edit: {_text(self.licence)}." if self.licence else "The edit states no licence."
        if self.model and self.model.get("licence"):
            said += f" Its base has terms of its own: {_text(self.model['licence'])}"
        return said

    def _base_name(self) -> str:
        recipes = [self.edit.recipe, *(member.recipe for member, _ in self.edit.members)]
        names = {one["model"] for one in recipes if isinstance(one, Mapping) and isinstance(one.get("model"), str)}
        return str((self.model or {}).get("name") or (names.pop() if len(names) == 1 else ""))


def _object(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = facts.get(name)
    return value if isinstance(value, Mapping) else {}


def _section(title: str, parts: Iterable[str]) -> list[str]:
    """Nothing, where there is nothing to say."""
    said = [part for part in parts if part]
    return [f"## {title}", *said] if said else []


def _figures(notes: Mapping[str, Any]) -> list[tuple[object, ...]]:
    return [
        (_text(key.replace("_", " ")), value if isinstance(value, float) else _text(value))
        for key, value in notes.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    ]


def _limit(limit: Any) -> str:
    words = {"most": "at most", "least": "at least"}
    sides = limit.items() if isinstance(limit, Mapping) else ()
    return " and ".join(
        f"{words[side]} {_number(value)}" for side, value in sides if side in words and value is not None
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table whose cells are Markdown already, or numbers."""
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *([_number(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names))


def _text(value: object) -> str:
    """Words as they are: nothing in them is Markdown, or HTML."""
    return _MARKS.sub(r"\\\1", " ".join(str(value).split()))


def _code(value: object) -> str:
    """Words in a code span, fit for a table."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{text}{fence}" if len(fence) == 1 else f"{fence} {text} {fence}"


def _block(language: str, text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.strip()}\n{fence}"


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)
    return text


def _slug(text: str) -> str:
    """A name as the hub takes it: small letters, digits, dots and hyphens, on one line."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:64].strip("-.") or "other"


__all__ = ["Card"]
