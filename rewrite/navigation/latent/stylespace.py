"""StyleSpace: single style channels, ranked (Wu, Lischinski and Shechtman 2021, "StyleSpace Analysis: Disentangled
Controls for StyleGAN Image Generation").
"""

from __future__ import annotations

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation.latent.channels import energies, styled, styles
from rewrite.navigation.latent.moves import ChannelShift
from rewrite.navigation.latent.scores import scored, scorer
from rewrite.navigation.latent.sites import sites
from rewrite.navigation.latent.walk import Walk, asked, codes, short
from rewrite.navigation.methods import Options

SAMPLES = 10_000
POOL = 500
EXEMPLARS = 10
PROBES = 4


def stylespace(generator: Generator, options: Options) -> list[Walk]:
    """The first `count` channels, each a shift; strength 1 is one standard deviation of the channel over codes.

    With a concept (or `scores`): those whose values at the images of highest score are far from the mean and alike
    (section 5; the shift points there). Else with a region: those whose change lies in it, as a share per pixel, among
    the `visible` share of channels that change it most (section 4, to first order). `more`: `samples` for the spread,
    `pool` and `exemplars`, `probes` an image, `visible`, `scores`, and `images`, to rank image layers' channels too.
    """
    more = asked(
        options, samples=SAMPLES, pool=POOL, exemplars=EXEMPLARS, probes=PROBES, visible=0.25, scores=None,
        images=False,
    )  # fmt: skip
    chosen = styled(generator, sites(generator, layers=options.layers), images=more["images"])
    if more["samples"] < 2:
        raise RewriteError(f"samples is {more['samples']}; a channel's spread takes two at least")
    drawn = codes(generator, more["samples"])
    spread = [styles(generator, site, drawn) for site in chosen]
    means, deviations = [s.mean(0) for s in spread], [s.std(0).clamp(min=1e-12) for s in spread]
    if options.concept is not None or more["scores"] is not None:
        names, score = scorer(options, more["scores"])
        pool = drawn[: more["pool"]]
        values = scored(generator, options, score, pool)[:, 0]
        if not 2 <= more["exemplars"] < len(pool) or float(values.max()) == float(values.min()):
            raise RewriteError(
                f"the {len(pool)} images are all scored {float(values[0]):g}, or {more['exemplars']} of them are no "
                f"exemplars; give a larger pool, 2 exemplars or more, or another concept"
            )
        best = pool[torch.argsort(values, descending=True, stable=True)[: more["exemplars"]]]
        rated = [
            consistency(styles(generator, site, best), mean, deviation)
            for site, mean, deviation in zip(chosen, means, deviations, strict=True)
        ]
        what, signs = names[0], [one.sign() for one in rated]
        ranks, facts = [one.abs() for one in rated], [{"consistency": one.abs()} for one in rated]
    else:
        few = drawn[: options.latents]
        if options.region is not None and options.region.seed is not None:
            few = codes(generator, 1, start=options.region.seed)
        measured = energies(generator, chosen, deviations, few, options, probes=more["probes"])
        least = torch.quantile(torch.cat([one.inside for one in measured]), 1 - more["visible"])
        shares = [one.inside / (one.inside + one.outside).clamp(min=1e-300) for one in measured]
        what, signs = "region", [torch.ones_like(share) for share in shares]
        ranks = [share * (one.inside >= least) for share, one in zip(shares, measured, strict=True)]
        facts = [{"share": share, "inside": one.inside} for share, one in zip(shares, measured, strict=True)]
    return [
        Walk(
            f"{what}: {chosen[i].name} {c}",
            [(chosen[i], ChannelShift((c,), (signs[i][c] * deviations[i][c]).reshape(1)))],
            {
                **{key: short(value[c]) for key, value in facts[i].items()},
                "site": chosen[i].name, "channel": c, "sigma": short(deviations[i][c]), "exact": True,
            },
        )
        for i, c in _first(ranks, options.count)
    ]  # fmt: skip


def consistency(exemplars: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """How far and how alike the exemplars' channels lie, with its sign: mean over standard deviation of (s - mean) /
    deviation; styles (N, channels), result (channels,).
    """
    standard = (exemplars - mean) / deviation
    return standard.mean(0) / standard.std(0).clamp(min=1e-6)


def _first(ranks: list[Tensor], count: int) -> list[tuple[int, int]]:
    """Site and channel of the highest ranks; of equal ones the earlier."""
    owner = [(i, c) for i, rank in enumerate(ranks) for c in range(len(rank))]
    order = torch.argsort(torch.cat(ranks), descending=True, stable=True)[:count]
    return [owner[int(at)] for at in order]
