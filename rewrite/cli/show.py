"""rewrite show"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from rewrite.cli import complete
from rewrite.cli.generators import opened
from rewrite.cli.options import EditArgument
from rewrite.cli.voice import Voice, facts_table, table

OPERATIONS = ("parameter", "kind", "form", "shape", "rank", "norm", "coefficient")
RELATIVE = ("parameter", "kind", "form", "shape", "rank", "norm", "relative", "coefficient")
MEMBERS = ("member", "coefficient", "touches", "made by", "notes")


On = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="MODEL", help="Hold it against these weights: are they its base, how much does it change?",
        autocompletion=complete.models,
    ),
]  # fmt: skip


def show(voice: Voice, edit: EditArgument, model: On = None) -> None:
    """Show what an edit file holds."""
    import edits
    from rewrite import hub
    from rewrite.report import edit_facts

    path = hub.local(edit)
    loaded = edits.load(path)
    generator = None if model is None else opened(voice, model)
    columns = OPERATIONS if generator is None else RELATIVE
    facts: dict[str, Any] = {"file": str(edit), "bytes": path.stat().st_size, **edit_facts(loaded, generator)}
    rows = [_row(row, columns) for row in facts["operations"]]
    parts = [facts_table(_head(facts)), table(columns, rows)]
    if facts["members"]:
        parts.append(table(MEMBERS, [_member(member) for member in facts["members"]]))
    voice.result(facts, *parts)


def _head(facts: dict[str, Any]) -> list[tuple[str, object]]:
    base, above = facts["base"], facts["base"]["upstream"]
    touched = [f"{name} {known['float32'][:12]}" for name, known in base["touched"].items()]
    return [
        ("edit", f"{facts['file']}, {facts['bytes']:,} bytes"),
        ("content", facts["content"]),
        ("strength", facts["strength"]),
        ("base", "\n".join([base["architecture"], *touched])),
        ("upstream", above and f"{len(above['names'])} tensors {above['float32'][:12]}"),
        ("held against", facts["fit"] and _fit(facts["fit"])),
        ("made by", _words(facts["made_by"])),
        ("recipe", facts["recipe"] and _yaml(facts["recipe"])),
        ("notes", _yaml(facts["notes"]) if facts["notes"] else None),
    ]


def _fit(fit: dict[str, Any]) -> str:
    lines = [fit["model"], *(f"{name} {match}" for name, match in fit["touched"].items())]
    return "\n".join([*lines, f"upstream {' or '.join(fit['upstream'])}"])


def _row(operation: dict[str, Any], columns: Sequence[str]) -> tuple[object, ...]:
    shape = " x ".join(map(str, operation["shape"]))
    return tuple(shape if column == "shape" else operation[column] for column in columns)


def _member(member: dict[str, Any]) -> tuple[object, ...]:
    return (
        member["content"][:12],
        member["coefficient"],
        ", ".join(member["touched"]),
        _words(member["made_by"]),
        _words({key: value for key, value in member["notes"].items() if not isinstance(value, dict | list)}),
    )


def _words(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def _yaml(value: Any) -> str:
    import yaml

    from rewrite.report import abridged

    text: str = yaml.safe_dump(abridged(value), sort_keys=False, default_flow_style=None, width=100)
    return text.rstrip()
