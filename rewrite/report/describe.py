"""What there is to say about a generator, a layer and an edit: plain data, for tables and for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import edits
from rewrite.generator import Generator, Layer

LONGEST_LIST = 16


def model_facts(generator: Generator) -> dict[str, Any]:
    """A generator's name, sizes and card, and what there is to say about each of its layers."""
    return {
        "name": generator.name,
        "architecture": generator.architecture,
        "resolution": generator.resolution,
        "latent": generator.z_dim,
        "classes": generator.classes,
        "parameters": sum(tensor.numel() for tensor in generator.module.state_dict().values()),
        "card": dict(generator.card),
        "layers": [layer_facts(layer) for layer in generator.layers.values()],
    }


def layer_facts(layer: Layer) -> dict[str, Any]:
    """A layer's name, kind, weight, resolution, what follows, and why no rule can edit it (None: one can)."""
    return {
        "name": layer.name,
        "kind": layer.kind,
        "weight": layer.weight,
        "shape": list(layer.shape),
        "in": layer.in_features,
        "out": layer.out_features,
        "resolution": list(layer.out_resolution),
        "gain": layer.gain is not None,
        "follows": list(layer.follows),
        "refuses": layer.refuses,
    }


def edit_facts(edit: edits.Edit) -> dict[str, Any]:
    """Everything in an edit but its tensors: operations, base, recipe, notes, members."""
    return {
        "content": edit.content,
        "strength": edit.strength,
        "operations": [{**asdict(row), "shape": list(row.shape)} for row in edit.rows],
        "base": edit.base.facts(),
        "recipe": edit.recipe,
        "made_by": dict(edit.made_by),
        "notes": dict(edit.notes),
        "members": [
            {
                "content": member.content,
                "coefficient": coefficient,
                "touched": list(member.touched),
                "base": member.base.facts(),
                "recipe": member.recipe,
                "made_by": dict(member.made_by),
                "notes": dict(member.notes),
            }
            for member, coefficient in edit.members
        ],
    }


@dataclass(frozen=True)
class EditFacts:
    """One line about an edit, in a report's table; None where the edit does not say."""

    name: str
    model: str | None
    layer: str | None
    rank: int | None
    residual: float | None
    background_shift: float | None
    bytes: int | None

    @classmethod
    def of(cls, name: str, edit: edits.Edit, size: int | None = None) -> EditFacts:
        """The line of an edit of `size` bytes; a composed edit has no layer, rank or residual of its own."""
        recipe = edit.recipe if isinstance(edit.recipe, Mapping) else {}
        notes = edit.notes
        return cls(
            name=name,
            model=recipe.get("model"),
            layer=notes.get("layer"),
            rank=notes.get("rank"),
            residual=notes.get("residual"),
            background_shift=notes.get("background_shift"),
            bytes=size,
        )


def abridged(value: Any) -> Any:
    """A recipe for people: inlined masks and long lists give way to their sizes."""
    if isinstance(value, str) and value.startswith("data:"):
        head, _, data = value.partition(",")
        return f"{head.removeprefix('data:').partition(';')[0]}, {len(data) * 3 // 4} bytes"
    if isinstance(value, Mapping):
        return {key: abridged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if len(value) > LONGEST_LIST and all(isinstance(item, int | float) for item in value):
            return f"{len(value)} numbers"
        return [abridged(item) for item in value]
    return value
