"""What there is to say about a generator, a layer and an edit: plain data, for tables and for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

import edits
from edits import materialise
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


def edit_facts(edit: edits.Edit, generator: Generator | None = None) -> dict[str, Any]:
    """Everything in an edit but its tensors: operations, base, recipe, notes, members.

    With a generator also whether its weights are the edit's base, and the norm of each operation's change relative to
    the tensor's. EditError if they do not fit at all.
    """
    relative, fit = ([None] * len(edit.rows), None) if generator is None else _on(edit, generator)
    return {
        "content": edit.content,
        "strength": edit.strength,
        "operations": [
            {**asdict(row), "shape": list(row.shape), "relative": share}
            for row, share in zip(edit.rows, relative, strict=True)
        ],
        "fit": fit,
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


def _on(edit: edits.Edit, generator: Generator) -> tuple[list[float | None], dict[str, Any]]:
    look = edits.identity.Look(edits.identity.state(generator.module))
    verdicts = [edits.compare(member.base, look) for member, _ in edit.parts(1.0)]
    shares = [
        _relative(look.editable(name), operation)
        for member, _ in edit.parts(1.0)
        for name, operations in member.operations.items()
        for operation in operations
    ]
    touched = {name: match for verdict in verdicts for name, match in verdict.touched.items()}
    upstream = sorted({verdict.upstream for verdict in verdicts})
    return shares, {"model": generator.name or generator.architecture, "touched": touched, "upstream": upstream}


def _relative(weight: Tensor, operation: edits.Add | edits.Scale | edits.Set) -> float | None:
    """||W' - W|| / ||W|| at strength 1, rounding aside; None for a tensor of zeros."""
    base = weight.detach().cpu().double()
    changed = materialise.materialise(base, [materialise.Change("", "", 0, 1.0, operation)])
    whole = float(base.norm())
    return float((changed - base).norm()) / whole if whole else None


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
