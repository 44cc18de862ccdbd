"""How often the gate would have said otherwise, had it looked at other seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import edits
from reproduction import draw
from reproduction.harm import ANCHOR
from reproduction.sheet import short
from rewrite.check import Limit
from rewrite.check.findings import Finding, findings, limits_of
from rewrite.check.gate import HELD_OUT, Outcome, judge
from rewrite.check.look import LEVELS, Seen
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.perception import Extractor, Features, paired_kid

CALIBRATION = 2**23
"""The first of the seeds on which the borderline edit is found."""
HARMLESS, HARMFUL = 0.4, 2.0
"""How much weight noise there is in the clear edits, in units of the borderline one's."""
WEAKEST, STRONGEST = 0.02, 4.0
"""Between which the borderline edit's noise is looked for, in standard deviations of the weight;"""
HALVINGS, NEAR = 10, 0.05
"""how often at most, and how near 1 harm is brought."""
BATCH = 50


@dataclass(frozen=True)
class Judged:
    """One edit on one block of seeds."""

    edit: str
    first: int
    """The block's first seed."""
    started: Outcome
    """On as many seeds as the gate begins with,"""
    ended: Outcome
    """and on as many as it was allowed: MORE is undecided."""
    samples: int
    harm: Finding
    """On the first seeds."""
    tone: float


@dataclass
class Block:
    """A stretch of seeds of which the base is looked at once, whatever is tried on it."""

    generator: Generator
    eye: Extractor
    _base: dict[range, tuple[Tensor, Features, Features]] = field(default_factory=dict)

    def seen(self, edit: edits.Edit, seeds: range) -> Seen:
        """What the gate sees there, but for perceptual distances, on which none of its usual limits hangs."""
        if seeds not in self._base:
            base = draw.images(self.generator, seeds)
            anchor = ANCHOR.images(self.generator, seeds, base)
            self._base[seeds] = (base, *(self.eye.of(of.split(BATCH)) for of in (base, anchor)))
        base, features, anchored = self._base[seeds]
        edited = draw.images(self.generator, seeds, edit)
        none = torch.zeros(len(seeds))
        each = {
            "tone": (edited.mean((2, 3)) - base.mean((2, 3))).abs().mean(1) * LEVELS,
            "change": (edited - base).abs().mean((1, 2, 3)) * LEVELS,
            "distance": none,
            "anchor distance": none,
        }
        of = {"base": features, "anchor": anchored, "edited": self.eye.of(edited.split(BATCH))}
        return Seen(tuple(seeds), of, each, {})


def blocks(
    generator: Generator, eye: Extractor, tried: Mapping[str, edits.Edit], *, count: int, samples: int, cap: int
) -> Iterator[Judged]:
    """Each edit on `count` blocks of `cap` seeds that no two share, as the gate goes about it."""
    held = eye.of(draw.images(generator, range(HELD_OUT, HELD_OUT + samples)).split(BATCH))
    for first in range(0, count * cap, cap):
        block = Block(generator, eye)
        for name, edit in tried.items():
            seen = block.seen(edit, range(first, first + samples))
            start = findings(seen, held)
            started = ended = outcome(start)
            while ended == "MORE" and 2 * len(seen.seeds) <= cap:
                more = range(first + len(seen.seeds), first + 2 * len(seen.seeds))
                seen = Seen.join([seen, block.seen(edit, more)])
                ended = outcome(findings(seen, held))
            yield Judged(name, first, started, ended, len(seen.seeds), start["harm"], start["tone"].value)


def outcome(found: Mapping[str, Finding]) -> Outcome:
    """The verdict under the gate's usual limits."""
    said = {judge(name, found[name], Limit(most=most)).outcome for name, most in limits_of(found).items()}
    return "FAIL" if "FAIL" in said else "MORE" if "MORE" in said else "PASS"


def edits_of_three_kinds(
    generator: Generator, eye: Extractor, layer: Layer, *, samples: int, amount: float | None
) -> dict[str, edits.Edit]:
    """Weight noise that is clearly harmless, borderline and clearly harmful; `amount` is the borderline one's."""
    middle = borderline(generator, eye, layer, samples=samples) if amount is None else amount
    sizes = {"harmless": HARMLESS * middle, "borderline": middle, "harmful": HARMFUL * middle}
    return {f"{kind}: noise {size:.3g}": draw.shaken(generator, layer, size) for kind, size in sizes.items()}


def borderline(generator: Generator, eye: Extractor, layer: Layer, *, samples: int) -> float:
    """The weight noise whose harm is about 1, by bisection of its logarithm."""
    seeds, block = range(CALIBRATION, CALIBRATION + samples), Block(generator, eye)
    held = eye.of(draw.images(generator, range(HELD_OUT, HELD_OUT + samples)).split(BATCH))

    def harm(size: float) -> float:
        features = block.seen(draw.shaken(generator, layer, size), seeds).features
        base, edited, anchor = (features[name].standardised(held, "held") for name in ("base", "edited", "anchor"))
        return paired_kid(base, edited).over(paired_kid(base, anchor)).value

    low, high = WEAKEST, STRONGEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        found = harm(middle)
        if abs(found - 1) <= NEAR:
            break
        low, high = (middle, high) if found < 1 else (low, middle)
    if not 0.5 <= found <= 2:
        raise RewriteError(
            f"no weight noise of {WEAKEST:g} to {STRONGEST:g} on {layer.name} was found whose harm is about 1 (the "
            f"last was {found:.2g}); give an amount"
        )
    return middle


FIGURES = ("mean seeds", "harm", "harm, spread over blocks", "harm, its standard error", "tone")
COLUMNS = ("edit", "blocks", "at first", "at last", "mean seeds", "harm", "spread", "its SE", "tone")


def cells(name: str, told: Mapping[str, Any]) -> list[str]:
    """A row of the table, of one entry of `summary`."""
    ends = (
        " ".join(f"{kind} {told[when][kind]}" for kind in ("PASS", "MORE", "FAIL") if kind in told[when])
        for when in ("at first", "at last")
    )
    return [name, str(told["blocks"]), *ends, *(short(told[figure]) for figure in FIGURES)]


def summary(judged: list[Judged]) -> dict[str, dict[str, Any]]:
    """For each edit how its blocks ended, and how far harm strays from block to block beside what is said of it."""
    told: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(one.edit for one in judged):
        its = [one for one in judged if one.edit == name]
        harm = torch.tensor([one.harm.value for one in its], dtype=torch.float64)
        error = torch.tensor([(one.harm.high - one.harm.low) / (2 * 1.96) for one in its], dtype=torch.float64)
        told[name] = {
            "blocks": len(its),
            "at first": dict(Counter(one.started for one in its)),
            "at last": dict(Counter(one.ended for one in its)),
            "mean seeds": sum(one.samples for one in its) / len(its),
            "harm": float(harm.mean()),
            "harm, spread over blocks": float(harm.std()) if len(its) > 1 else 0.0,
            "harm, its standard error": float(error.mean()),
            "tone": sum(one.tone for one in its) / len(its),
        }
    return told
