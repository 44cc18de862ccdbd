"""Steerability: the linear walk that does to images what a transform does (Jahanian, Chai and Isola 2020, "On the
Steerability of Generative Adversarial Networks", equation 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation.latent.fold import moved, stepped
from rewrite.navigation.latent.moves import shift
from rewrite.navigation.latent.scores import truncated
from rewrite.navigation.latent.sites import Site, sites
from rewrite.navigation.latent.transforms import TRANSFORMS, Transform, transform
from rewrite.navigation.latent.walk import Walk, asked, codes, short
from rewrite.navigation.methods import Options

STEPS = 200
BATCH = 4
RATE = 0.01
JUDGED = 16


def steerability(generator: Generator, options: Options) -> list[Walk]:
    """One walk a transform: `more`: `transforms` (all known), `steps` and `rate` of Adam, `rows` (a direction for each
    row of ws, as published, or one for all).

    Strength 1 is the transform's unit. Facts: `explained`, the share of the squared change that the transform asks of
    fresh images which the walk brings about, at half and at the whole of the largest amount it was learned at.
    RewriteError where codes cannot be shifted (a network whose first layer stores no bias that could hold it).
    """
    more = asked(options, transforms=tuple(TRANSFORMS), steps=STEPS, rate=RATE, rows=True)
    chosen = sites(generator, layers=options.layers)
    walks = []
    for name in more["transforms"]:
        wanted = transform(name)
        walk = learned(generator, chosen, wanted, options, steps=more["steps"], rate=more["rate"], rows=more["rows"])
        steps = [(site, shift(direction)) for site, direction in walk.items()]
        shares = [
            explained(generator, partial(moved, steps), wanted, options, (amount, -amount))
            for amount in _amounts(wanted)
        ]
        facts = {
            "unit": wanted.what, "explained": [short(share) for share in shares], "amounts": _amounts(wanted),
            "exact": True,
        }  # fmt: skip
        moves = [(site, shift(direction * wanted.unit)) for site, direction in walk.items()]
        walks.append(Walk(name, moves, facts))
    return walks


def learned(
    generator: Generator, chosen: tuple[Site, ...], wanted: Transform, options: Options, *, steps: int, rate: float,
    rows: bool,
) -> dict[Site, Tensor]:  # fmt: skip
    """The direction (w,) of each site, per unit of amount: masked least squares by Adam, on seeds from 0 on."""
    drawn = codes(generator, max(options.latents, BATCH))
    count = max((row for site in chosen for row in site.rows), default=0) + 1
    walk = torch.zeros(count if rows else 1, drawn.shape[1], device=generator.device, requires_grad=True)
    solver, turn = torch.optim.Adam([walk], lr=rate), torch.Generator().manual_seed(0)
    for step in range(steps):
        ws = _batch(generator, drawn, turn, options)
        amount = float((torch.rand(1, generator=turn) * 2 - 1) * wanted.most)
        with torch.no_grad():
            target, mask = wanted.apply(generator.synthesize(ws=ws, noise=options.noise), amount)
        scaled = walk * amount
        with stepped(chosen, partial(_of_site, scaled)):
            walked = generator.synthesize(ws=ws, noise=options.noise)
        loss = ((walked - target).square() * mask).mean()
        solver.zero_grad()
        loss.backward()
        solver.step()
        options.progress("learning a walk", step + 1, steps)
    if not bool(walk.isfinite().all()):
        raise RewriteError("the walk left all bounds; give a smaller rate")
    found = walk.detach().cpu().double()
    return {site: found[_row(site, walk)] for site in chosen}


@torch.no_grad()
def explained(
    generator: Generator, within: Callable[[float], AbstractContextManager[object]], wanted: Transform,
    options: Options, amounts: Sequence[float],
) -> float:  # fmt: skip
    """1 - |changed - transformed|^2 / |image - transformed|^2 over these amounts, on fresh seeds.

    In the block `within(amount)` the generator paints changed images.
    """
    drawn, left, asked_for = codes(generator, JUDGED, start=10_000), 0.0, 0.0
    for amount in amounts:
        for part in drawn.split(BATCH):
            ws = truncated(generator, part.float().to(generator.device), options)
            base = generator.synthesize(ws=ws, noise=options.noise)
            target, mask = wanted.apply(base, amount)
            with within(amount):
                changed = generator.synthesize(ws=ws, noise=options.noise)
            left += float(((changed - target).square() * mask).sum())
            asked_for += float(((base - target).square() * mask).sum())
    return 1 - left / max(asked_for, 1e-300)


def _of_site(walk: Tensor, site: Site) -> Tensor:
    return walk[_row(site, walk)]


def _row(site: Site, walk: Tensor) -> int:
    return site.rows[0] if len(walk) > 1 and site.rows else 0


def _batch(generator: Generator, drawn: Tensor, turn: torch.Generator, options: Options) -> Tensor:
    rows = torch.randint(len(drawn), (BATCH,), generator=turn)
    return truncated(generator, drawn[rows].float().to(generator.device), options)


def _amounts(wanted: Transform) -> list[float]:
    return [wanted.most / 2, wanted.most]
