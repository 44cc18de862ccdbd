"""A verdict on one page: what was found against what is allowed, the worst seeds and the usual ones, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import repeat
from torch import Tensor

from rewrite.report.page import Section, Sheet, Table, page
from rewrite.report.sheets import sheet

SIZE = 160
WORDS = {
    "PASS": "Every finding is within its limit, with its whole interval.",
    "FAIL": "At least one finding is beyond its limit, with its whole interval.",
    "MORE": "At least one finding's interval still holds its limit: these seeds cannot tell.",
}


def heat(distances: Tensor) -> Tensor:
    """Maps (N, 1, H, W) of a distance as images (N, 3, H, W) in [-1, 1], white to red; all on one scale."""
    top = float(distances.max()) or 1.0
    share = (distances / top).clamp(0, 1).sqrt()
    colour = torch.tensor([0.78, 0.10, 0.12], device=share.device)[:, None, None]
    return 2 * (1 - repeat(share, "n 1 h w -> n c h w", c=3) * (1 - colour)) - 1


def verdict_page(
    facts: Mapping[str, Any],
    rows: Mapping[str, Sequence[tuple[str, Tensor]]],
    captions: Mapping[str, Sequence[str]],
) -> str:
    """The page of a verdict's facts; `rows` are sheets by title (base, edited, heat), `captions` their seeds."""
    conditions = facts["conditions"]
    edits = ", ".join(f"{one['content'][:12]} at {one['strength']:g}" for one in facts["edits"])
    sections = [
        Section("What was found", tables=[_findings(facts)]),
        *(
            Section(title, sheets=[Sheet(sheet(list(of), captions[title], SIZE), alt=f"{title}: base, edited, where.")])
            for title, of in rows.items()
        ),
    ]
    if facts["areas"]:
        sections.append(Section("Shares of the image", tables=[_areas(facts["areas"])]))
    sections.append(Section("What informs, but does not judge", tables=_diagnostics(facts["diagnostics"])))
    said = "; ".join(f"{name}: {value}" for name, value in conditions.items() if value is not None)
    return page(
        f"{facts['outcome']}: {conditions['model']}, {edits}",
        f"{WORDS[facts['outcome']]} {facts['samples']} seeds, each with and without the edit.",
        sections,
        footer=said,
    )


def _findings(facts: Mapping[str, Any]) -> Table:
    judged = {one["name"]: one for one in facts["judgements"]}
    rows = []
    for name, found in facts["findings"].items():
        limit = judged.get(name, {}).get("limit", {})
        asked = [f"at most {limit['most']:g}"] if "most" in limit else []
        asked += [f"at least {limit['least']:g}"] if "least" in limit else []
        low, high = found["interval"]
        verdict = judged[name]["outcome"] if name in judged else ""
        rows.append(
            (
                name,
                _figure(found["value"]),
                f"{_figure(low)} to {_figure(high)}",
                ", ".join(asked),
                verdict,
                found["what"],
            )
        )
    return Table(("finding", "value", "95 % interval", "limit", "verdict", "of what"), rows, numeric=("value",))


def _areas(areas: Mapping[str, Mapping[str, float]]) -> Table:
    rows = [
        (name, f"{100 * of['base']:.2f}", f"{100 * of['edited']:.2f}", f"{100 * (of['edited'] - of['base']):+.2f}",
         f"{100 * of['error']:.2f}")
        for name, of in sorted(areas.items(), key=lambda one: -abs(one[1]["edited"] - one[1]["base"]))
    ]  # fmt: skip
    columns = ("class", "base %", "edited %", "change", "standard error")
    return Table(columns, rows, numeric=columns[1:])


def _diagnostics(said: Mapping[str, Any]) -> list[Table]:
    tables = []
    if frechet := said.get("frechet"):
        rows = [
            (f"{frechet['label']}, base to held-out seeds", _figure(frechet["base to held-out"])),
            (f"{frechet['label']}, edited to held-out seeds", _figure(frechet["edited to held-out"])),
            ("the difference, over the spread of the base", f"{100 * frechet['difference over spread']:.2f} %"),
        ]
        tables.append(Table(("distance", "value"), rows, numeric=("value",)))
    names = ("precision", "recall", "density", "coverage")
    rows_of = [(kind, *(f"{said[f'manifold of {kind}'][name]:.3f}" for name in names)) for kind in ("base", "edited")]
    tables.append(Table(("against held-out seeds", *names), rows_of, numeric=names))
    return tables


def _figure(value: float) -> str:
    return np.format_float_positional(value, precision=3, fractional=False, trim="-") if value else "0"
