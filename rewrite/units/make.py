"""The audit of a generator: which units of which layers mean what, and how edits change that.

Two phases, each one pass of the generator for all layers at once: ranges of values on one stream of latents, from which
thresholds follow; whole-number counts of units and concepts on another (Bau et al. 2019, "GAN Dissection").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import edits
from rewrite.concepts import Segmenter
from rewrite.concepts import segmenter as made
from rewrite.concepts.groups import Groups
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Noise
from rewrite.keep import digest
from rewrite.latents import ROW_LIMIT
from rewrite.progress import Progress, quiet
from rewrite.stats import ChannelMoments
from rewrite.units.chance import DEALS, Chance, chance
from rewrite.units.counting import place
from rewrite.units.features import World, sites
from rewrite.units.protocol import CHOOSING, SCORING, Protocol, protocol
from rewrite.units.ranges import measure, thresholds
from rewrite.units.result import LEAST_IOU, LEVEL, Area, Audit, LayerAudit, Meaning, Seen, Unit
from rewrite.units.scores import Comparison, LayerScores, Scores, score, unpacked
from rewrite.units.surroundings import surroundings

SAMPLES = 1_000
CHOOSE = 1_000
"""Images that thresholds are chosen by, unless fewer are asked for."""
UNNAMED = ("background",)
"""Concepts that no unit is named after."""


def audit(
    generator: Generator,
    *,
    segmenter: Segmenter | str | Path | None = None,
    groups: Groups | Path | None = None,
    layers: Iterable[str] | None = None,
    samples: int = SAMPLES,
    choose: int | None = None,
    edit: edits.Edit | Sequence[tuple[edits.Edit, float | None]] = (),
    method: str | Protocol = "iqr",
    truncation: float = 1.0,
    noise: Noise = "const",
    deals: int = DEALS,
    unnamed: Collection[str] = UNNAMED,
    cache: bool = True,
    progress: Progress = quiet,
) -> Audit:
    """What the units of layers (all with feature maps, if None) mean, by `samples` images.

    Thresholds are chosen on rows 0 to `choose` - 1 of one stream (as many as `samples`, at most 1,000) and scored on
    rows of another. `segmenter` is one, or what `rewrite.concepts.segmenter` makes one from; `groups` takes its classes
    together. Without a segmenter thresholds are upper quantiles, and units are known by the images that they are
    most on for. With `edit`, one or several (edit, strength) pairs, every figure is measured after as well, on the same
    latents at the same thresholds. An interrupted audit goes on from where it was the next time, to the same bits, and
    a finished one is not measured again, unless `cache` is off. RewriteError for what cannot be audited.
    """
    if not 0 < samples <= ROW_LIMIT or not 0 < (samples if choose is None else choose) <= ROW_LIMIT or deals < 1:
        raise RewriteError(
            f"samples is {samples}, choose {choose} and deals {deals}; expected 1 to {ROW_LIMIT} images, and at least "
            f"one deal"
        )
    how = protocol(method)
    segmenter, source = named(segmenter, groups, device=generator.device.type, progress=progress)
    if segmenter is None and how.threshold == "iqr":
        how = protocol("quantile")
    changes = [(edit, None)] if isinstance(edit, edits.Edit) else list(edit)
    choose = min(samples, CHOOSE) if choose is None else choose
    found, world = sites(generator, layers), World(truncation, noise)
    conditions = surroundings(generator, found, segmenter, world) | {
        "protocol": [how.threshold, how.tail, how.upsampled, how.points, how.padding]
    }

    def kept(**more: Any) -> Any:
        return place(conditions | more) if cache else None

    ranges = measure(
        generator, found, how, segmenter, range(choose),
        world=world, path=kept(phase="ranges", rows=choose), progress=progress,
    )  # fmt: skip
    limits = thresholds(ranges, how)
    scored = score(
        generator, found, how, limits, segmenter, range(samples), world=world, changes=changes, progress=progress,
        path=kept(
            phase="scores", rows=samples, thresholds=digest(limits),
            edits=[[one.content, one.strength if strength is None else strength] for one, strength in changes],
        ),
    )  # fmt: skip
    concepts = () if segmenter is None else tuple(segmenter.classes)
    judged = _judged(scored, concepts, deals, cache, progress)
    reader = _Reader(concepts, tuple(concept not in unnamed for concept in concepts))
    return Audit(
        model=generator.name or generator.architecture,
        resolution=generator.resolution,
        concepts=concepts,
        layers=tuple(
            LayerAudit(name, how.grid(site.grid, (generator.resolution,) * 2), tuple(
                reader.units(name, limits[name], ranges.layers[name].moments, scored, judged)
            ))
            for name, site in found.items()
        ),
        areas=_areas(concepts, scored, bool(changes)),
        settings={
            "protocol": how.name, "threshold": how.threshold, "tail": how.tail, "upsampled": how.upsampled,
            "points": how.points, "padding": how.padding,
            "truncation": truncation, "noise": noise,
            "segmenter": source, "groups": dict(groups) if isinstance(groups, Mapping) else groups and str(groups),
            "choosing": {"stream": CHOOSING, "rows": choose}, "scoring": {"stream": SCORING, "rows": samples},
            "deals": deals if concepts else 0, "judged_on": judged[0].images if judged[0] else 0,
            "least_iou": LEAST_IOU, "level": LEVEL, "least_p": judged[0].least if judged[0] else None,
        },
        edits=tuple(
            {"content": one.content, "strength": one.strength if strength is None else strength}
            for one, strength in changes
        ),
    )  # fmt: skip


def named(
    source: Segmenter | str | Path | None,
    groups: Groups | Path | None = None,
    *,
    device: str = "cpu",
    progress: Progress = quiet,
) -> tuple[Segmenter | None, str | None]:
    """The segmenter, and what it is called; RewriteError if there is none of that name, or no classes to group."""
    if source is None:
        if groups is not None:
            raise RewriteError("groups take the classes of a segmenter together, and none was given; name one")
        return None, None
    if isinstance(source, str | Path):
        return made(source, groups=groups, device=device, progress=progress), str(source)
    return (source if groups is None else made(source, groups=groups)), type(source).__name__


def _judged(
    scored: Comparison, concepts: Sequence[str], deals: int, cache: bool, progress: Progress
) -> tuple[Chance | None, Chance | None]:
    if not concepts:
        return None, None
    base, edited = (
        None if one is None else chance(one, deals=deals, cache=cache, progress=progress)
        for one in (scored.base, scored.edited)
    )
    return base, edited


def _areas(concepts: Sequence[str], scored: Comparison, edited: bool) -> tuple[Area, ...]:
    areas = scored.areas
    if not concepts:
        return ()
    figures = (areas.before / areas.count, areas.after / areas.count, -areas.lost, areas.lost_error)
    return tuple(
        Area(concept, before, after, change, error if edited else 0.0)
        for concept, before, after, change, error in zip(concepts, *(each.tolist() for each in figures), strict=True)
    )


class _Reader:
    """Turns tables into units."""

    def __init__(self, concepts: Sequence[str], named: Sequence[bool]) -> None:
        self.concepts, self.named = concepts, torch.tensor(named, dtype=torch.bool)

    def units(
        self,
        name: str,
        limits: Tensor,
        moments: ChannelMoments,
        scored: Comparison,
        judged: tuple[Chance | None, Chance | None],
    ) -> list[Unit]:
        before, tops = self._side(name, scored.base, judged[0])
        after, edited_tops = self._side(name, scored.edited, judged[1]) if scored.edited else (None, None)
        figures = zip(
            limits.tolist(), moments.mean.tolist(), moments.variance.sqrt().tolist(), moments.largest.tolist(),
            strict=True,
        )  # fmt: skip
        cells = max(scored.base.layers[name].cells, 1)
        switched = (scored.switched[name].double() / cells).tolist() if after else [0.0] * len(before)
        return [
            Unit(
                i, threshold, mean, deviation, largest, before[i], tops[i],
                after[i] if after else None, edited_tops[i] if edited_tops else (), switched[i],
            )
            for i, (threshold, mean, deviation, largest) in enumerate(figures)
        ]  # fmt: skip

    def _side(self, name: str, scores: Scores, judged: Chance | None) -> tuple[list[Meaning], list[tuple[Seen, ...]]]:
        layer = scores.layers[name]
        share = (layer.on.double() / max(layer.cells, 1)).tolist()
        if layer.overlaps is None or judged is None:
            return [Meaning(None, 0.0, 0.0, None, None, on, ()) for on in share], _tops(layer, share)
        iou, quality = layer.overlaps.iou, layer.overlaps.quality
        best, at = iou.masked_fill(~self.named, -1).max(1)
        z, p = judged.z[name], judged.p[name]
        rows = zip(best.tolist(), at.tolist(), iou.tolist(), share, strict=True)
        meanings = [
            Meaning(
                self.concepts[c] if value > 0 else None, max(value, 0.0), float(quality[u, c]),
                _number(z[u, c]), _number(p[u, c]), on, tuple(ious),
            )
            for u, (value, c, ious, on) in enumerate(rows)
        ]  # fmt: skip
        return meanings, _tops(layer, share)


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _tops(layer: LayerScores, share: Sequence[float]) -> list[tuple[Seen, ...]]:
    """The images that each unit was most on for; none that it was not on in at all."""
    top = layer.top
    cells, masks = unpacked(top.payload, layer.fine)
    found = []
    for unit in range(len(share)):
        seen = [
            Seen(
                int(top.index[unit, k]), float(top.values[unit, k]),
                (int(cells[unit, k, 0]), int(cells[unit, k, 1])),
                Seen.packed(masks[unit, k]),
            )
            for k in range(top.values.shape[1])
            if top.index[unit, k] >= 0 and masks[unit, k].any()
        ]  # fmt: skip
        found.append(tuple(seen))
    return found
