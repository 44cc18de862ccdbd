"""What was seen, as numbers with intervals: harm, effect, locality, tone, shares of classes, diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewrite.check.look import Seen
from rewrite.perception import Features, Figure, Moments, frechet_distance, paired_kid, prdc
from rewrite.perception.inception import PUBLISHED

LEVEL = 0.95
DRAWS = 400
"""Bootstrap samples of the seeds."""
HIGH = 0.95
"""The quantile over seeds that locality is judged by: nearly all images, not the mean one."""
LEAST_EFFECT = 1.0
"""In units of JPEG-95: what does less is no edit that a person could see."""


@dataclass(frozen=True)
class Finding:
    """A number with its 95 % interval over seeds, and what it is."""

    value: float
    low: float
    high: float
    what: str

    @property
    def facts(self) -> dict[str, Any]:
        return {"value": self.value, "interval": [self.low, self.high], "what": self.what}


def findings(seen: Seen, held: Features) -> dict[str, Finding]:
    """What can be judged.

    `harm`: paired kernel distance of base and edited images, over that of base images and their JPEG files (with a
    place: both outside of it); `kernel distance`: itself; with the published Inception also `kid`, of its features as
    they are.
    `effect`: perceptual change (with a place: inside of it), over the same of JPEG; `distance`: itself. `tone` and
    `change`: levels of 255. With a place, `outside`: the 95th percentile of the perceptual change outside, over JPEG's
    mean there; `distance inside` and `distance outside`: themselves; `change outside`: levels.
    """
    local = "outside" in seen.features
    judged, unit = ("outside", "anchor outside") if local else ("edited", "anchor")
    base, harmed, anchor = (seen.features[name].standardised(held, "held-out base") for name in ("base", judged, unit))
    each = seen.each
    harm = paired_kid(base, harmed, level=LEVEL)
    found = {
        "harm": _figure(harm.over(paired_kid(base, anchor, level=LEVEL)), local, "in units of JPEG-95"),
        "kernel distance": _figure(harm, local, "standardised by held-out seeds"),
        "tone": _mean(each["tone"], "mean shift of an image's mean colour, levels of 255"),
        "change": _mean(each["change"], "mean change of a pixel, levels of 255"),
        "distance": _mean(each["distance"], "mean perceptual distance"),
    }
    if seen.features["base"].identity == PUBLISHED:
        found["kid"] = _figure(
            paired_kid(seen.features["base"], seen.features[judged], level=LEVEL), local, "paired KID"
        )
    if not local:
        found["effect"] = _ratio(each["distance"], each["anchor distance"], "perceptual change, in units of JPEG-95")
        return found
    found["effect"] = _ratio(
        each["distance inside"], each["anchor inside"], "perceptual change inside, in units of JPEG-95"
    )
    found["outside"] = _ratio(
        each["distance outside"], each["anchor outside"],
        "95th percentile over seeds of the perceptual change outside, in units of JPEG-95", quantile=HIGH,
    )  # fmt: skip
    for part in ("inside", "outside"):
        found[f"distance {part}"] = _mean(each[f"distance {part}"], f"mean perceptual distance, changes {part} alone")
    found["change outside"] = _mean(each["change outside"], "mean change of a pixel outside, levels of 255")
    return found


def diagnostics(seen: Seen, held: Features) -> dict[str, Any]:
    """What informs but does not judge: Fréchet distances and the manifold, against held-out seeds of the base."""
    count = min(len(seen.seeds), len(held))
    reference, base, edited = held[:count], seen.features["base"][:count], seen.features["edited"][:count]
    said: dict[str, Any] = {"images": count}
    if count > reference.values.shape[1]:
        moments = Moments.of(reference)
        null, after = (frechet_distance(Moments.of(one), moments) for one in (base, edited))
        said["frechet"] = {
            "label": null.label,
            "base to held-out": null.value,
            "edited to held-out": after.value,
            "difference over spread": after.minus(null).value / moments.spread,
        }
    for name, features in (("base", base), ("edited", edited)):
        shape = prdc(reference, features)
        said[f"manifold of {name}"] = {
            one: getattr(shape, one).value for one in ("precision", "recall", "density", "coverage")
        }
    return said


def areas(seen: Seen, classes: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Mean share of the image of each class before and after, and the standard error of the difference."""
    if not seen.areas:
        return {}
    before, after = seen.areas["base"].double(), seen.areas["edited"].double()
    error = (after - before).std(0) / len(before) ** 0.5
    return {
        name: {"base": float(before[:, i].mean()), "edited": float(after[:, i].mean()), "error": float(error[i])}
        for i, name in enumerate(classes)
    }


def _figure(figure: Figure, local: bool, unit: str) -> Finding:
    low, high = figure.interval or (figure.value, figure.value)
    where = "images, changes outside alone" if local else "images"
    return Finding(figure.value, low, high, f"{figure.label} of {where}, {unit}")


def _mean(values: Tensor, what: str) -> Finding:
    values = values.double()
    reach = 1.96 * float(values.std()) / len(values) ** 0.5
    mean = float(values.mean())
    return Finding(mean, mean - reach, mean + reach, what)


def _ratio(values: Tensor, anchor: Tensor, what: str, *, quantile: float | None = None) -> Finding:
    """The mean, or a quantile, of values over the mean of the anchor; bootstrapped over seeds, always the same ones."""
    values, anchor = values.double(), anchor.double()
    drawn = torch.randint(len(values), (DRAWS, len(values)), generator=torch.Generator().manual_seed(0))

    def ratio(some: Tensor, of: Tensor) -> Tensor:
        top = some.mean(-1) if quantile is None else some.quantile(quantile, dim=-1)
        return top / of.mean(-1).clamp(min=torch.finfo(torch.float64).tiny)

    spread = ratio(values[drawn], anchor[drawn])
    tail = (1 - LEVEL) / 2
    low, high = spread.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Finding(float(ratio(values, anchor)), low, high, what)


def limits_of(found: Mapping[str, Finding]) -> dict[str, float]:
    """What is at most allowed where nothing else is said: no more harm than JPEG-95, no visible shift of tone."""
    usual = {"harm": 1.0, "tone": 2.0, "outside": 1.0, "change outside": 2.0}
    return {name: limit for name, limit in usual.items() if name in found}
