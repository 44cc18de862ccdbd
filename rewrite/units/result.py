"""What an audit found, as plain values: what each unit of each layer means, and what edits made of that."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edits.file import write_atomically
from rewrite.units.cause import Cause, Effect

LEAST_IOU = 0.04
"""A unit means a concept if their IoU is above this (Bau et al. 2020) and it is not chance."""
LEVEL = 0.05
"""Family-wise p at which it is not chance."""
FORMAT = 1


@dataclass(frozen=True)
class Seen:
    """An image that a unit was strongly on for: a row of the scoring stream."""

    row: int
    value: float
    """The largest in the image."""
    cell: tuple[int, int]
    """Where it is, row and column of the layer's grid."""
    mask: str
    """What is on: bits of the grid in C order, packed, zlib, base64."""

    @staticmethod
    def packed(mask: Tensor) -> str:
        """`mask` of a mask (h, w) bool."""
        return base64.b64encode(zlib.compress(np.packbits(mask.numpy()).tobytes(), 9)).decode()

    def unpacked(self, grid: tuple[int, int]) -> Tensor:
        """The mask (h, w) bool."""
        bits = np.frombuffer(zlib.decompress(base64.b64decode(self.mask)), np.uint8)
        return torch.from_numpy(np.unpackbits(bits, count=grid[0] * grid[1])).bool().view(grid)


@dataclass(frozen=True)
class Meaning:
    """A unit beside the concepts: of all of them the IoU, and of the one of the largest IoU the rest."""

    concept: str | None
    """None without a segmenter, or where it meets none."""
    iou: float
    quality: float
    """Information quality ratio."""
    z: float | None
    """Overlap beyond chance in its standard deviations; None where unit or concept are too rare to tell."""
    p: float | None
    """Family-wise, over all units and concepts of the audit."""
    on: float
    """Share of cells where the unit is on."""
    ious: tuple[float, ...]
    """With every concept, in the audit's order."""

    @property
    def holds(self) -> bool:
        """Whether it is said that the unit means the concept."""
        return self.concept is not None and self.iou > LEAST_IOU and self.p is not None and self.p <= LEVEL


@dataclass(frozen=True)
class Unit:
    """A unit of a layer."""

    index: int
    threshold: float
    """It is on where its value is above this."""
    mean: float
    deviation: float
    largest: float
    """Its values, on the images that thresholds were chosen by."""
    meaning: Meaning
    top: tuple[Seen, ...]
    edited: Meaning | None = None
    """Under the edits, on the same images at the same threshold."""
    edited_top: tuple[Seen, ...] = ()
    switched: float = 0.0
    """Share of cells where it is on before or after the edits, and not both."""

    @property
    def change(self) -> float:
        """Largest change of its IoU with any concept; without concepts, of the share of cells where it is on.

        0 for a unit that is on in the same cells as before, whatever became of the concepts there.
        """
        if self.edited is None or not self.switched:
            return 0.0
        pairs = zip(self.meaning.ious, self.edited.ious, strict=True)
        return max((abs(after - before) for before, after in pairs), default=abs(self.edited.on - self.meaning.on))


@dataclass(frozen=True)
class LayerAudit:
    """A layer of an audit."""

    name: str
    grid: tuple[int, int]
    units: tuple[Unit, ...]

    @property
    def concepts(self) -> dict[str, int]:
        """How many units mean each concept, the most first."""
        found: dict[str, int] = {}
        for unit in self.units:
            if unit.meaning.holds and unit.meaning.concept is not None:
                found[unit.meaning.concept] = found.get(unit.meaning.concept, 0) + 1
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class Area:
    """The share of an image that a concept covers: before and after the edits, with the paired standard error."""

    concept: str
    before: float
    after: float
    change: float
    error: float


@dataclass(frozen=True)
class Audit:
    """Everything that was measured, and how."""

    model: str
    resolution: int
    concepts: tuple[str, ...]
    layers: tuple[LayerAudit, ...]
    areas: tuple[Area, ...]
    settings: Mapping[str, Any]
    edits: tuple[Mapping[str, Any], ...] = ()
    causes: tuple[Cause, ...] = ()
    """What units do when they are silenced, on the weights as they are, where that was measured."""

    def effect(self, layer: str, unit: int) -> tuple[Cause, Effect] | None:
        """What the unit does alone; None where it was not measured."""
        for cause in self.causes:
            for effect in cause.effects:
                if cause.layer == layer and effect.units == (unit,):
                    return cause, effect
        return None

    def layer(self, name: str) -> LayerAudit:
        """The layer of that name; KeyError if it was not audited."""
        return {layer.name: layer for layer in self.layers}[name]

    def ranked(self, concept: str) -> list[tuple[float, str, int]]:
        """(IoU, layer, unit) of all units, those that meet the concept best first."""
        at = self.concepts.index(concept)
        return sorted(
            ((unit.meaning.ious[at], layer.name, unit.index) for layer in self.layers for unit in layer.units),
            key=lambda found: (-found[0], found[1], found[2]),
        )

    def changed(self) -> list[tuple[float, str, int]]:
        """(change, layer, unit) of all units, those that the edits changed most first."""
        return sorted(
            ((unit.change, layer.name, unit.index) for layer in self.layers for unit in layer.units),
            key=lambda found: (-found[0], found[1], found[2]),
        )

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data, numbers to six digits; a number that is not finite is null."""
        facts = {"format": FORMAT, **asdict(self)}
        for layer, said in zip(self.layers, facts["layers"], strict=True):
            said["concepts"] = layer.concepts
            for unit, told in zip(layer.units, said["units"], strict=True):
                told["meaning"]["holds"] = unit.meaning.holds
                told["removed"], told["removed_error"], told["removed_by_lot"] = self._removed(layer.name, unit)
                if unit.edited is not None:
                    told["edited"]["holds"] = unit.edited.holds
                    told["change"] = unit.change
        shortened: dict[str, Any] = _shortened(facts)
        return shortened

    def as_csv(self) -> str:
        """One line a unit."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            ["layer", "unit", "concept", "holds", "iou", "iqr", "p", "z", "on", "threshold", "mean", "deviation",
             "largest", "removed", "removed error", "removed by lot", "edited concept", "edited holds", "edited iou",
             "edited iqr", "edited p", "edited z", "edited on", "switched", "change", "top rows", "edited top rows",
             *(f"iou {concept}" for concept in self.concepts),
             *(f"edited iou {concept}" for concept in self.concepts if self.edits)]
        )  # fmt: skip
        writer.writerows(self._lines())
        return out.getvalue()

    def save(self, folder: Path) -> None:
        """Write audit.json, units.csv and areas.csv into a folder that is made if need be, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_json(), separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(folder / "audit.json", text.encode())
        write_atomically(folder / "units.csv", self.as_csv().encode())
        if self.areas:
            write_atomically(folder / "areas.csv", self._areas().encode())
        else:
            (folder / "areas.csv").unlink(missing_ok=True)

    def _areas(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["concept", "before", "after", "change", "error"])
        writer.writerows([area.concept, *map(_digits, (area.before, area.after, area.change, area.error))]
                         for area in self.areas)  # fmt: skip
        return out.getvalue()

    def _removed(self, layer: str, unit: Unit) -> tuple[float | None, float | None, float | None]:
        """The share of its concept's pixels that go without the unit, its standard error, and that of units by lot."""
        found = self.effect(layer, unit.index)
        if found is None or unit.meaning.concept is None:
            return None, None, None
        (cause, effect), at = found, self.concepts.index(unit.meaning.concept)
        place = cause.effects.index(effect)
        lots = [lot[place].removed[at] for lot in cause.controls]
        known = [share for share in lots if share is not None]
        return effect.removed[at], effect.removed_error[at], sum(known) / len(known) if known else None

    def _lines(self) -> Iterator[list[object]]:
        for layer in self.layers:
            for unit in layer.units:
                said, after = unit.meaning, unit.edited
                yield [
                    layer.name, unit.index, said.concept, said.holds,
                    *map(_digits, (said.iou, said.quality, said.p, said.z, said.on)),
                    *map(_digits, (unit.threshold, unit.mean, unit.deviation, unit.largest)),
                    *map(_digits, self._removed(layer.name, unit)),
                    *([None] * 9 if after is None else
                      [after.concept, after.holds,
                       *map(_digits, (after.iou, after.quality, after.p, after.z, after.on)),
                       *map(_digits, (unit.switched, unit.change))]),
                    *(" ".join(str(seen.row) for seen in top) for top in (unit.top, unit.edited_top)),
                    *map(_digits, said.ious),
                    *map(_digits, () if after is None else after.ious),
                ]  # fmt: skip


def _digits(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _shortened(value: Any) -> Any:
    if isinstance(value, float):
        return _digits(value)
    if isinstance(value, Mapping):
        return {key: _shortened(item) for key, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list | tuple) else value
