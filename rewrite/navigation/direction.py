"""What a method finds: an edit of strength 1 with a name. What is then measured of it makes it a direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import edits
from edits import Add, Dense, LowRank, Slices
from edits.canonical import Json
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer

if TYPE_CHECKING:
    from rewrite.navigation.calibration import Calibration
    from rewrite.navigation.labels import Label


@dataclass(frozen=True)
class Found:
    """A direction as a method found it. `facts` is a JSON object: eigenvalue, residual, explained share and the like.

    The edit's strength is 1 and its scale is the method's own; `calibrated` gives strength 1 a meaning.
    """

    edit: edits.Edit
    name: str
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Direction:
    """An edit whose strength 1 is a stated perceptual change; its notes hold what was measured of it."""

    edit: edits.Edit
    name: str
    method: str
    facts: Mapping[str, Json]
    calibration: Calibration
    label: Label | None = None
    same: tuple[str, ...] = ()
    """Names of what else was found that does the same, and was merged into this one."""

    @property
    def title(self) -> str:
        """The name, and what it does where that is known."""
        return f"{self.name}: {self.label.says}" if self.label else self.name

    def as_json(self) -> dict[str, Any]:
        """All but the tensors."""
        return {
            "name": self.name,
            "method": self.method,
            "content": self.edit.content,
            "facts": dict(self.facts),
            "calibration": self.calibration.as_json(),
            "label": self.label and self.label.as_json(),
            "same": list(self.same),
        }


def kernel_edit(generator: Generator, layer: Layer, operation: Add, *, facts: Mapping[str, Json]) -> edits.Edit:
    """The edit of strength 1 that makes that change to the layer's weight."""
    return edits.Edit(
        operations={layer.weight: (operation,)},
        base=edits.describe(
            generator.module, [layer.weight], upstream=layer.upstream, architecture=generator.architecture
        ),
        made_by={"tool": "rewrite", "version": version("rewrite"), "verb": "navigate"},
        notes={"layer": layer.name, **facts},
    )


def scaled(edit: edits.Edit, amount: float) -> edits.Edit:
    """The edit whose strength 1 is `amount` of this one's; RewriteError for one that scales or sets, or is composed."""
    if edit.members or any(not isinstance(one, Add) for each in edit.operations.values() for one in each):
        raise RewriteError(
            f"edit {edit.content[:12]} is composed, scales or sets, so its strength has no other unit; expected one "
            f"that only adds"
        )
    operations = {
        name: tuple(replace(one, form=_times(one.form, amount)) for one in each if isinstance(one, Add))
        for name, each in edit.operations.items()
    }
    return replace(edit, operations=operations)


def noted(edit: edits.Edit, notes: Mapping[str, Json]) -> edits.Edit:
    """The edit with more notes, at strength 1."""
    return replace(edit, strength=1.0, notes=dict(edit.notes) | dict(notes))


def short(value: float) -> float:
    """In six digits, as notes hold it."""
    return float(f"{value:.6g}")


def _times(form: LowRank | Dense | Slices, amount: float) -> LowRank | Dense | Slices:
    if isinstance(form, LowRank):
        return replace(form, left=form.left * amount)
    if isinstance(form, Dense):
        return replace(form, dense=form.dense * amount)
    return replace(form, values=form.values * amount)
