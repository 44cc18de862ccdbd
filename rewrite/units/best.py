"""What the units of an audit cause that meet their concepts best: each silenced alone, beside units chosen by lot."""

from __future__ import annotations

from dataclasses import replace

from rewrite.concepts import Segmenter
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.progress import Progress, quiet
from rewrite.units.cause import CONTROLS, SAMPLES, silenced
from rewrite.units.features import World
from rewrite.units.result import Audit

EACH = 1
"""Units of each concept."""


def best(audit: Audit, each: int = EACH) -> dict[str, list[int]]:
    """By layer, the units that mean a concept and meet it best, `each` for a concept."""
    found: dict[str, list[int]] = {}
    for concept in audit.concepts:
        meant = [
            (unit.meaning.iou, layer.name, unit.index)
            for layer in audit.layers
            for unit in layer.units
            if unit.meaning.holds and unit.meaning.concept == concept
        ]
        for _, layer, unit in sorted(meant, key=lambda one: (-one[0], one[1], one[2]))[:each]:
            found.setdefault(layer, []).append(unit)
    return {layer.name: sorted(found[layer.name]) for layer in audit.layers if layer.name in found}


def caused(
    generator: Generator,
    audit: Audit,
    segmenter: Segmenter,
    *,
    each: int = EACH,
    samples: int = SAMPLES,
    controls: int = CONTROLS,
    cache: bool = True,
    progress: Progress = quiet,
) -> Audit:
    """The audit with what its best units cause on the weights as they are, by `samples` images of another stream.

    RewriteError if the segmenter has other classes than the audit's.
    """
    if tuple(segmenter.classes) != audit.concepts:
        raise RewriteError(
            f"the audit is of {', '.join(audit.concepts) or 'no concepts'}, and the segmenter knows "
            f"{', '.join(segmenter.classes)}; give the one that it was made with"
        )
    world = World(audit.settings["truncation"], audit.settings["noise"])
    causes = tuple(
        silenced(
            generator, layer, [(unit,) for unit in units], segmenter,
            samples=samples, controls=controls, world=world, cache=cache, progress=progress,
        )
        for layer, units in best(audit, each).items()
    )  # fmt: skip
    return replace(audit, causes=causes)
