"""rewrite inspect"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewrite.cli.generators import opened
from rewrite.cli.options import ModelName
from rewrite.cli.voice import Voice, facts_table, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rewrite.generator import Generator

COLUMNS = ("layer", "kind", "weight shape", "output", "gain", "follows", "rule")
NAMES_SHOWN = 8


def inspect(voice: Voice, model: ModelName) -> None:
    """Show a model's card and its layers; of another program's file, what is in it and whether it carries code."""
    from rewrite.checkpoints import native
    from rewrite.models import ZOO

    path = Path(model)
    if model in ZOO or not path.exists() or native.claims(path):
        facts, shown = _of_generator(opened(voice, model), model)
        voice.result(facts, *shown)
        return
    facts, generator = _of_file(path)
    shown = [facts_table(_file_head(facts))]
    whole: dict[str, Any] = {"file": facts}
    if generator is not None:
        found, layers = _of_generator(generator, model)
        whole |= found
        shown += ["", *layers]
    voice.result(whole, *shown)


def _of_generator(generator: Generator, model: str) -> tuple[dict[str, Any], list[RenderableType]]:
    from rewrite.report import model_facts

    facts = model_facts(generator)
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
    return facts, [facts_table(head), table(COLUMNS, [_row(layer) for layer in facts["layers"]])]


def _of_file(path: Path) -> tuple[dict[str, Any], Generator | None]:
    """What there is to say about a file that is not ours, and its generator, where one is known."""
    from rewrite.checkpoints.read import read
    from rewrite.errors import RewriteError
    from rewrite.models import load, outside, recognise

    foreign = read(path)
    names = foreign.network.shapes if foreign.networks else {}
    layout, generator, trouble = None, None, None
    try:
        layout = recognise(foreign)
        generator = load(path) if layout is not None else None
    except RewriteError as error:
        trouble = str(error)
    what = None if layout or trouble else outside.described(names)
    facts = {
        "path": str(path),
        "bytes": path.stat().st_size,
        "container": foreign.container,
        "family": layout.family if layout else None,
        "why": [*foreign.why, *([f"{layout.family} by {layout.why}", *layout.notes] if layout else [])],
        "otherwise": what,
        "trouble": trouble,
        "chosen": foreign.chosen if foreign.networks else None,
        "networks": [
            {"name": name, "tensors": len(one.shapes), "class": one.facts.get("class")}
            for name, one in foreign.networks.items()
        ],
        "unexplained": {
            "tensors": layout.unexplained(names) if layout else sorted(names),
            "names": list(foreign.unexplained),
        },
        "code": list(foreign.code),
    }
    return facts, generator


def _file_head(facts: dict[str, Any]) -> list[tuple[str, object]]:
    networks = []
    for one in facts["networks"]:
        size = f"{one['tensors']} tensor{'s' * (one['tensors'] != 1)}"
        kind = f", {one['class']}" if one["class"] else ""
        networks.append(f"{one['name'] or 'the file itself'} ({size}{kind})")
    family = facts["family"] or (f"none: {facts['otherwise']}" if facts["otherwise"] else "none")
    return [
        ("file", f"{facts['path']}, {facts['bytes']:,} bytes"),
        ("container", facts["container"]),
        ("family", family),
        ("why", "; ".join(facts["why"])),
        ("networks", ", ".join(networks)),
        ("trouble", facts["trouble"]),
        ("tensors without a use here", _some(facts["unexplained"]["tensors"])),
        ("names without a meaning here", _some(facts["unexplained"]["names"])),
        ("code", "; ".join(facts["code"]) + ": none of it was run" if facts["code"] else "none: it holds data alone"),
    ]


def _some(names: list[str]) -> str:
    more = f", and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


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
