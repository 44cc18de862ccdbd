"""Continuous factors: the coordinate of the code that grows with a factor of variation of known amount (Plumerault, Le
Borgne and Hudelot 2020, "Controlling generative models with continuous factors of variations").

Codes are sought whose images are transformed by known amounts; the direction is the one along which codes go when the
amount grows. Of the published model, amount = g(<u, x>), g is linear here, so u is a ridge regression.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation.latent.scores import truncated
from rewrite.navigation.latent.sites import sites
from rewrite.navigation.latent.transforms import Transform, transform
from rewrite.navigation.latent.walk import Walk, along, asked, codes, short, signed
from rewrite.navigation.methods import Options

CODES = 16
SHARES = (-1.0, -0.5, 0.5, 1.0)
"""Of the transform's largest amount, that codes are sought for; from the middle outwards on either side."""
STEPS = 30
RATE = 0.05
WORST = 0.1
BLUR = 3.0


def continuous(generator: Generator, options: Options) -> list[Walk]:
    """One direction a transform, as a projection: strength 1 sets the coordinate <u, x> to its `target`.

    `more`: `transforms` (zoom, shift_x, shift_y), `codes`, `steps` and `rate` of Adam, `target` in standard deviations
    of the coordinate (None: to component 0, which needs no bias), `form`. Facts: `gain`, amount a standard deviation of
    the coordinate, `fit`, its R2 on codes held out, and `unit` of the amount.
    """
    more = asked(
        options, transforms=("zoom", "shift_x", "shift_y"), codes=CODES, steps=STEPS, rate=RATE, target=1.0,
        form="projective",
    )  # fmt: skip
    chosen, drawn = sites(generator, layers=options.layers), codes(generator, 1_000)
    walks = []
    for name in more["transforms"]:
        steps, amounts, owner = trajectories(
            generator, transform(name), options, drawn[: more["codes"]], steps=more["steps"], rate=more["rate"]
        )
        held = owner % 4 == 3
        if not bool(held.any()) or int((~held).sum()) < 4:
            raise RewriteError(f"{more['codes']} codes are too few to hold some out; give 8 or more")
        weights = regression(steps[~held], amounts[~held])
        missed = (steps[held] @ weights - amounts[held]).square().sum() / amounts[held].square().sum()
        unit = signed(weights / weights.norm())
        coordinate = drawn @ unit
        sigma, mean = float(coordinate.std()), float(coordinate.mean())
        target = 0.0 if more["target"] is None else mean + more["target"] * sigma
        walks.append(
            Walk(
                name,
                along(chosen, unit, more["form"], size=sigma, target=target),
                {
                    "gain": short(float(weights @ unit) * sigma), "fit": short(1 - float(missed)),
                    "sigma": short(sigma), "unit": "log2 of the factor" if name == "zoom" else "share of the image",
                    "exact": True,
                },
            )
        )  # fmt: skip
    return walks


def trajectories(
    generator: Generator, wanted: Transform, options: Options, starts: Tensor, *, steps: int, rate: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Steps of codes (M, d) whose images come nearest to the transformed ones, their amounts (M,) and the rows of
    `starts` they begin at; the worst tenth is left out. Each amount begins where the smaller one on its side ended.
    """
    found: list[tuple[float, Tensor, float, int]] = []
    for side in (-1, 1):
        here = starts.float().to(generator.device)
        ahead = here.clone()
        for share in sorted(abs(one) for one in SHARES if one * side > 0):
            amount = side * share * wanted.most
            with torch.no_grad():
                base = generator.synthesize(ws=truncated(generator, here, options), noise=options.noise)
                target, mask = wanted.apply(base, amount)
            ahead = ahead.detach().requires_grad_(True)
            solver = torch.optim.Adam([ahead], lr=rate)
            losses = torch.zeros(len(here))
            for step in range(steps):
                image = generator.synthesize(ws=truncated(generator, ahead, options), noise=options.noise)
                losses = (blurred((image - target) * mask)).square().mean((1, 2, 3))
                solver.zero_grad()
                losses.sum().backward()
                solver.step()
                options.progress("seeking transformed codes", step + 1, steps)
            relative = losses.detach() / blurred((base - target) * mask).square().mean((1, 2, 3)).clamp(min=1e-12)
            found += [
                (float(relative[i]), (ahead[i] - here[i]).detach().cpu().double(), amount, i) for i in range(len(here))
            ]
    found.sort(key=lambda one: one[0])
    kept = found[: len(found) - int(len(found) * WORST)]
    return (
        torch.stack([one[1] for one in kept]),
        torch.tensor([one[2] for one in kept]).double(),
        torch.tensor([one[3] for one in kept]),
    )


def regression(steps: Tensor, amounts: Tensor, *, ridge: float = 0.1) -> Tensor:
    """The u (d,) whose <u, step> are nearest to the amounts (M,); `ridge` is relative to the steps' mean square."""
    gram = steps @ steps.T
    floor = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return steps.T @ torch.linalg.solve(gram + floor, amounts)


def blurred(images: Tensor, sigma: float = BLUR) -> Tensor:
    """Images under a Gaussian of that deviation in px, in both directions."""
    reach = min(int(2 * sigma), (images.shape[-1] - 1) // 2)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square()).to(images)
    taps = (taps / taps.sum()).expand(images.shape[1], 1, 1, -1)
    across = torch.nn.functional.conv2d(images, taps, padding=(0, reach), groups=images.shape[1])
    return torch.nn.functional.conv2d(across, taps.mT, padding=(reach, 0), groups=images.shape[1])
