"""InterFaceGAN and HiGAN: normals of linear boundaries between codes of high and of low score, and what they cause.

Shen et al. 2020, "InterFaceGAN: Interpreting the Disentangled Face Representation Learned by GANs"; Yang et al. 2021,
"Semantic Hierarchy Emerges in Deep Generative Representations for Scene Synthesis" (re-scoring, section 3.2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rewrite.errors import RewriteError, nearest
from rewrite.generator import Generator
from rewrite.navigation.latent.boundary import Boundary, boundary, conditioned
from rewrite.navigation.latent.fold import everywhere, moved
from rewrite.navigation.latent.moves import shift
from rewrite.navigation.latent.scores import scored, scorer
from rewrite.navigation.latent.sites import Site, sites
from rewrite.navigation.latent.walk import Walk, along, asked, codes, short
from rewrite.navigation.methods import Options

SAMPLES = 1_000
RESCORED = 64
STEP = 2.0
"""Standard deviations that codes are moved by to be scored again."""
VARIES = 1e-6


def interfacegan(generator: Generator, options: Options) -> list[Walk]:
    """One direction a concept (of all classes, the best told apart first); strength 1 is one standard deviation.

    Scores are areas of the segmenter's classes, inside the region if there is one, or those of `scores`. `more`:
    `samples`; `share` of codes that count as extreme; `form`, with the projective one's `target` in standard deviations
    from the boundary (None: to component 0, which needs no bias); `conditions`, classes whose normals are projected out
    of the direction; `scores`, a callable from images to (N,).
    """
    more = asked(options, samples=SAMPLES, share=0.2, form="shift", target=0.0, conditions=(), scores=None)
    chosen, drawn = sites(generator, layers=options.layers), codes(generator, more["samples"])
    found = _boundaries(generator, options, more, drawn)
    ranked = sorted(found.items(), key=lambda item: -item[1].confident)[: options.count]
    return [_walk("interfacegan", name, one, chosen, drawn, more, {}) for name, one in ranked]


def higan(generator: Generator, options: Options) -> list[Walk]:
    """The directions of `interfacegan`, those first that cause most: the mean growth of the score under a step.

    max(0, F(G(x + 2 sigma n)) - F(G(x))), mean over `rescored` fresh seeds. `more` as there, and `by_row`: the same for
    a step at each row of ws alone, kept in the facts; the walk then moves the rows that do at least half of the best's.
    """
    more = asked(
        options, samples=SAMPLES, share=0.2, form="shift", target=0.0, conditions=(), scores=None, rescored=RESCORED,
        by_row=False,
    )  # fmt: skip
    chosen, drawn = sites(generator, layers=options.layers), codes(generator, more["samples"])
    found = _boundaries(generator, options, more, drawn)
    fresh = codes(generator, more["rescored"], start=more["samples"])
    names, score = scorer(options, more["scores"])
    before = scored(generator, options, score, fresh)
    walks = []
    for name, one in found.items():
        size, at = STEP * float((drawn @ one.normal).std()), names.index(name)

        def caused(where: tuple[Site, ...], one: Boundary = one, size: float = size, at: int = at) -> float:
            with moved(everywhere(where, shift(one.normal * size))):
                after = scored(generator, options, score, fresh)
            return short((after - before)[:, at].clamp(min=0).mean())

        facts: dict[str, Any] = {"rescored": caused(chosen)}
        where = chosen
        if more["by_row"]:
            rows = sorted({row for site in chosen for row in site.rows})
            by_row = {row: caused(tuple(site for site in chosen if row in site.rows)) for row in rows}
            best = max(by_row.values(), default=0.0)
            kept = {row for row, value in by_row.items() if value >= best / 2}
            where = tuple(site for site in chosen if kept & set(site.rows)) or chosen
            facts |= {"by_row": {str(row): value for row, value in by_row.items()}, "rows": sorted(kept)}
        walks.append(_walk("higan", name, one, where, drawn, more, facts))
    return sorted(walks, key=lambda walk: -float(str(walk.facts["rescored"])))[: options.count]


def _boundaries(generator: Generator, options: Options, more: dict[str, Any], drawn: Tensor) -> dict[str, Boundary]:
    """By concept; classes that do not vary are left out where all were asked for."""
    names, score = scorer(options, more["scores"])
    conditions = _conditions(generator, options, more, drawn)
    scores = scored(generator, options, score, drawn)
    found = {
        name: boundary(drawn, column, share=more["share"])
        for name, column in zip(names, scores.T, strict=True)
        if len(names) == 1 or _varies(column, more["share"])
    }
    if not found:
        raise RewriteError(f"no class varies over {len(drawn)} images; give more samples or another segmenter")
    return {name: _conditioned(name, one, conditions, drawn.mean(0)) for name, one in found.items()}


def _conditions(generator: Generator, options: Options, more: dict[str, Any], drawn: Tensor) -> dict[str, Tensor]:
    """Normals of the classes that are to be left alone."""
    if not more["conditions"]:
        return {}
    every = replace(options, concept=None)
    names, areas = scorer(every, None)
    for name in more["conditions"]:
        if name not in names:
            raise RewriteError(f"the segmenter knows no {name!r}; nearest: {nearest(name, names)}")
    scores = scored(generator, every, areas, drawn)
    return {
        name: boundary(drawn, scores[:, names.index(name)], share=more["share"]).normal for name in more["conditions"]
    }


def _conditioned(name: str, one: Boundary, conditions: dict[str, Tensor], mean: Tensor) -> Boundary:
    """The boundary through the mean code whose normal leaves the conditions alone."""
    others = [normal for condition, normal in conditions.items() if condition != name]
    if not others:
        return one
    normal = conditioned(one.normal, torch.stack(others))
    return replace(one, normal=normal, intercept=-float(mean @ normal))


def _varies(scores: Tensor, share: float) -> bool:
    count = max(1, int(len(scores) * share))
    ordered = scores.sort().values
    return float(ordered[-count] - ordered[count - 1]) > VARIES


def _walk(
    method: str, name: str, one: Boundary, chosen: tuple[Site, ...], drawn: Tensor,
    more: dict[str, Any], facts: dict[str, Any],
) -> Walk:  # fmt: skip
    sigma = float((drawn @ one.normal).std())
    target = 0.0 if more["target"] is None else more["target"] * sigma - one.intercept
    return Walk(
        f"{name} ({method})",
        along(chosen, one.normal, more["form"], size=sigma, target=target),
        {
            "confident": short(one.confident), "overall": short(one.overall), "sigma": short(sigma),
            "intercept": short(one.intercept), "exact": True, **facts,
        },
    )  # fmt: skip
