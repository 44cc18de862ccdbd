"""An audit on one page: layers, what the edits moved, and a card for each unit, to be searched and sorted.

The page holds all it needs: each picture once, outlines as paths over it, figures as JSON that a script lays out.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rewrite.report.page import Section, Table

STEP = 48
"""Cards shown at once, until more are asked for."""
QUALITY = 82
WIDE = 196
"""Length of the longest bar."""


@dataclass(frozen=True)
class Shot:
    """A picture that a unit was on for, and where."""

    picture: int
    """Which of the page's pictures."""
    row: int
    """Of the stream that latents came from."""
    path: str
    """An SVG path about what is on, as `outline` makes it."""
    grid: tuple[int, int]


Shots = Mapping[tuple[str, int], Sequence[Shot]]
"""By layer and unit."""


def outline(mask: NDArray[np.bool_]) -> str:
    """The border of a mask (h, w) as an SVG path in cells: straight runs, across and then down."""
    padded = np.pad(mask, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]
    down = (padded[1:-1, 1:] != padded[1:-1, :-1]).T
    runs = [f"M{start} {y}h{stop - start}" for y, start, stop in _runs(across)]
    runs += [f"M{x} {start}v{stop - start}" for x, start, stop in _runs(down)]
    return "".join(runs)


def audit_page(
    facts: Mapping[str, Any],
    pictures: Sequence[Image.Image] = (),
    shots: Shots | None = None,
    edited_shots: Shots | None = None,
    *,
    names: Mapping[str, str] | None = None,
) -> str:
    """The page of an audit's facts (audit.json); `names` are those of its edits, by content."""
    edited = bool(facts["edits"])
    aspect = f"{pictures[0].width} / {pictures[0].height}" if pictures else "1"
    data = {
        "units": list(_units(facts, shots or {}, edited_shots or {})),
        "pictures": [base64.b64encode(_jpeg(picture)).decode() for picture in pictures],
        "concepts": facts["concepts"],
        "layers": [layer["name"] for layer in facts["layers"]],
        "edited": edited,
        "step": STEP,
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _template().render(
        title=f"Audit of {facts['model']}" + (", edited" if edited else ""),
        intro=_intro(facts),
        sections=[*_changes(facts, names or {}), Section("Layers", _layers_intro(facts), tables=[_layers(facts)])],
        charts=_charts(facts),
        edited=edited,
        about=_about(facts, bool(pictures)),
        aspect=aspect,
        # A script ends where it says so, whatever quotes it is in.
        data=text.replace("<", "\\u003c"),
        footer=_footer(facts),
    )


def _units(facts: Mapping[str, Any], shots: Shots, edited_shots: Shots) -> Any:
    at = {concept: i for i, concept in enumerate(facts["concepts"])}

    def side(said: Mapping[str, Any]) -> dict[str, Any]:
        return {"concept": at.get(said["concept"]), **{key: said[key] for key in ("iou", "p", "z", "on", "holds")}}

    def seen(of: Shots, key: tuple[str, int]) -> list[list[object]]:
        return [[one.picture, one.path, *one.grid, one.row] for one in of.get(key, ())]

    for place, layer in enumerate(facts["layers"]):
        for unit in layer["units"]:
            key = layer["name"], unit["index"]
            yield {
                "at": place, "unit": unit["index"], **side(unit["meaning"]),
                "after": side(unit["edited"]) if unit["edited"] else None, "change": unit.get("change"),
                "switched": unit.get("switched"),
                "removed": unit["removed"], "removedError": unit["removed_error"], "byLot": unit["removed_by_lot"],
                "shots": seen(shots, key), "editedShots": seen(edited_shots, key),
            }  # fmt: skip


def _intro(facts: Mapping[str, Any]) -> str:
    units = [unit for layer in facts["layers"] for unit in layer["units"]]
    images = facts["settings"]["scoring"]["rows"]
    looked = f"{len(units):,} units of {_count(len(facts['layers']), 'layer')}, on {_count(images, 'image')}"
    if not facts["concepts"]:
        return (
            f"{looked}. No segmenter was given, so units have no names: each is shown by the images that it is most "
            f"on for. Give one with --segmenter to know what they mean."
        )
    named = sum(unit["meaning"]["holds"] for unit in units)
    after = f" {sum(unit['edited']['holds'] for unit in units):,} do after the edits." if facts["edits"] else ""
    return f"{looked}, beside {_count(len(facts['concepts']), 'concept')}: {named:,} mean one of them.{after}"


def _layers_intro(facts: Mapping[str, Any]) -> str:
    if not facts["concepts"]:
        return "A unit is a channel of what leaves a layer."
    least = facts["settings"]["least_p"]
    return (
        f"A unit is a channel of what leaves a layer. It means a concept if their IoU is above "
        f"{facts['settings']['least_iou']:g} and chance would do as well, for any unit and concept of this audit, "
        f"in at most {facts['settings']['level']:.0%} of cases; the smallest p there is here is {least:.2g}. "
        f"Thresholds were chosen on other images."
    )


def _layers(facts: Mapping[str, Any]) -> Table:
    concepts = [concept for concept in facts["concepts"] if any(concept in one for one in _counts(facts))]
    columns = ["layer", "grid", "units", *(["named"] if facts["concepts"] else []), *concepts]
    rows = []
    for layer in facts["layers"]:
        before, after = _counted(layer, "meaning"), _counted(layer, "edited")

        def cell(one: int, other: int) -> str:
            return f"{one or '–'} → {other or '–'}" if facts["edits"] and one != other else str(one or "–")

        named = [cell(sum(before.values()), sum(after.values()))] if facts["concepts"] else []
        rows.append([
            layer["name"], "{} x {}".format(*layer["grid"]), str(len(layer["units"])), *named,
            *(cell(before.get(concept, 0), after.get(concept, 0)) for concept in concepts),
        ])  # fmt: skip
    caption = "Units of each layer, and how many mean each concept" if facts["concepts"] else "Units of each layer"
    return Table(columns, rows, caption, numeric=columns[1:])


def _changes(facts: Mapping[str, Any], names: Mapping[str, str]) -> list[Section]:
    if not facts["edits"]:
        return []
    applied = ", ".join(f"{names.get(one['content'], one['content'][:12])} at {one['strength']:g}"
                        for one in facts["edits"])  # fmt: skip
    ranked = sorted(
        ((unit["change"], layer["name"], unit)
         for layer in facts["layers"] for unit in layer["units"] if unit["change"]),
        key=lambda one: (-one[0], one[1], one[2]["index"]),
    )[:12]  # fmt: skip
    tables = [_areas(facts)] if facts["areas"] else []
    rows = [
        (
            name,
            str(unit["index"]),
            *(_said(unit[side], facts, _moved(unit)) for side in ("meaning", "edited")),
            f"{change:.3f}",
        )
        for change, name, unit in ranked
    ]
    what = "IoU" if facts["concepts"] else "share of cells that are on"
    columns = ("layer", "unit", "before", "after", "change")
    tables += [Table(columns, rows, f"Units that changed most, by {what}", numeric=("unit", "change"))] if rows else []
    said = "a unit that is on where it was has not changed, whatever is painted there now"
    return [Section("What the edits changed", f"{applied}; the same latents before and after; {said}.", tables=tables)]


def _moved(unit: Mapping[str, Any]) -> int:
    """The concept whose IoU changed most: that which `change` is of."""
    moves = [abs(b - a) for a, b in zip(unit["meaning"]["ious"], unit["edited"]["ious"], strict=True)]
    return moves.index(max(moves)) if moves else -1


def _said(side: Mapping[str, Any], facts: Mapping[str, Any], concept: int) -> str:
    if not facts["concepts"]:
        return f"{100 * side['on']:.2f} %"
    return f"{facts['concepts'][concept]} {side['ious'][concept]:.3f}"


def _areas(facts: Mapping[str, Any]) -> Table:
    columns = ("concept", "before %", "after %", "change", "standard error")
    rows = [
        (one["concept"], *(f"{100 * one[key]:.3f}" for key in ("before", "after")),
         f"{100 * one['change']:+.3f}", f"{100 * one['error']:.3f}")
        for one in sorted(facts["areas"], key=lambda one: -abs(one["change"]))
    ]  # fmt: skip
    return Table(columns, rows, "Share of the image that each concept covers, in percent", numeric=columns[1:])


def _charts(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One for each layer that has named units; all on one scale."""
    sides = ("meaning", "edited") if facts["edits"] else ("meaning",)
    most = max((count for counts in _counts(facts) for count in counts.values()), default=0)
    charts = []
    for layer in facts["layers"]:
        counted = [_counted(layer, side) for side in sides]
        rows = sorted(
            {name for counts in counted for name in counts}, key=lambda name: (-counted[0].get(name, 0), name)
        )
        thick = 18 // len(sides)
        bars = [
            {
                "name": name if len(name) < 15 else name[:13] + "…", "middle": 12 + 26 * i,
                "parts": [
                    {"kind": kind, "top": 3 + 26 * i + (thick + 1) * j, "height": thick, "count": counts.get(name, 0),
                     "width": round(WIDE * counts.get(name, 0) / most, 1)}
                    for j, (kind, counts) in enumerate(zip(("before", "after"), counted, strict=False))
                ],
            }
            for i, name in enumerate(rows)
        ]  # fmt: skip
        words = ", ".join(f"{name} {' to '.join(str(counts.get(name, 0)) for counts in counted)}" for name in rows)
        if bars:
            charts.append({"title": layer["name"], "bars": bars, "height": 26 * len(bars), "words": words})
    return charts


def _counts(facts: Mapping[str, Any]) -> list[dict[str, int]]:
    return [_counted(layer, side) for layer in facts["layers"] for side in ("meaning", "edited")]


def _counted(layer: Mapping[str, Any], side: str) -> dict[str, int]:
    """How many units mean each concept."""
    found: dict[str, int] = {}
    for unit in layer["units"]:
        if unit[side] and unit[side]["holds"]:
            found[unit[side]["concept"]] = found.get(unit[side]["concept"], 0) + 1
    return found


def _about(facts: Mapping[str, Any], pictured: bool) -> str:
    words = []
    if pictured:
        words.append("The images that a unit is most on for, with what is on outlined; the first units have pictures.")
    if facts["concepts"]:
        words.append("IoU, p and z are those with the concept that the unit meets best.")
    if facts["causes"]:
        images = facts["causes"][0]["images"]
        words.append(
            f"The best units were silenced one by one on {images:,} images, beside others of the layer chosen by lot."
        )
    return " ".join(words) or "On is the share of cells where the unit is above its threshold."


def _footer(facts: Mapping[str, Any]) -> str:
    settings = facts["settings"]
    said = {
        "segmenter": settings["segmenter"], "protocol": settings["protocol"], "truncation": settings["truncation"],
        "noise": settings["noise"], "deals": settings["deals"] or None, "judged on": settings["judged_on"] or None,
        "thresholds from": "stream {stream}, {rows} rows".format(**settings["choosing"]),
        "scored on": "stream {stream}, {rows} rows".format(**settings["scoring"]),
        "figures": "audit.json, units.csv" + (", areas.csv" if facts["areas"] else ""),
    }  # fmt: skip
    return "; ".join(f"{name}: {value}" for name, value in said.items() if value is not None)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _runs(lines: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """(line, start, stop) of each run of True in each line."""
    steps = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, stops = np.argwhere(steps == 1), np.argwhere(steps == -1)
    return [(int(line), int(start), int(stop)) for (line, start), (_, stop) in zip(starts, stops, strict=True)]


def _jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()


@cache
def _template() -> jinja2.Template:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("rewrite.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return made.get_template("audit.html.jinja")
