"""rewrite inspect"""

from __future__ import annotations

from typing import Any

from rewrite.cli.generators import opened
from rewrite.cli.options import ModelName
from rewrite.cli.voice import Voice, facts_table, table

COLUMNS = ("layer", "kind", "weight shape", "output", "gain", "follows", "rule")


def inspect(voice: Voice, model: ModelName) -> None:
    """Show a model's card and its layers."""
    from rewrite.report import model_facts

    facts = model_facts(opened(voice, model))
    facts["name"] = facts["name"] or model
    card = dict(facts["card"])
    baked = [f"{entry['content'][:12]} at {entry.get('strength')}" for entry in card.pop("history", [])]
    head = [
        ("name", facts["name"]),
        ("architecture", facts["architecture"]),
        ("images", f"{facts['resolution']} x {facts['resolution']}"),
        ("latent", f"{facts['latent']} numbers"),
        ("classes", facts["classes"] or None),
        ("parameters", f"{facts['parameters']:,}"),
        *card.items(),
        ("baked in", ", ".join(baked)),
    ]
    voice.result(facts, facts_table(head), table(COLUMNS, [_row(layer) for layer in facts["layers"]]))


def _row(layer: dict[str, Any]) -> tuple[object, ...]:
    return (
        layer["name"],
        layer["kind"],
        " x ".join(map(str, layer["shape"])),
        " x ".join(map(str, layer["resolution"])),
        "yes" if layer["gain"] else "no",
        ", ".join(layer["follows"]),
        "no: " + layer["refuses"] if layer["refuses"] else "yes",
    )
