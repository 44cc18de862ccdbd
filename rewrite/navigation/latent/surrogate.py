"""The affine move nearest to a walk that does not fold, with the error that is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation.latent.fold import everywhere, moved
from rewrite.navigation.latent.moves import Move, affine, shift
from rewrite.navigation.latent.scores import truncated
from rewrite.navigation.latent.sites import sites
from rewrite.navigation.latent.walk import BATCH, Walk, asked, codes, short
from rewrite.navigation.methods import Options

Path = Callable[[Tensor], Tensor]
"""Codes (N, d) to where the walk leads them, (N, d)."""
SAMPLES = 4_000
JUDGED = 32
LEAST = 0.5
"""Share of the walk's squared step that a surrogate must have, on fresh codes, to be kept."""


def surrogate(generator: Generator, path: Path, options: Options, *, name: str = "surrogate") -> Walk:
    """A walk by ridge regression of the path's steps on codes; `more`: `samples`, `ridge`, `constant` (a shift alone).

    Facts: `exact` False; `explained`, the share of the squared step of fresh codes that it has; `image_error`, the mean
    absolute difference of images between the path and the surrogate, and `image_change`, that which the path makes.
    RewriteError where less than half of the step is explained.
    """
    more = asked(options, samples=SAMPLES, ridge=1e-3, constant=False)
    chosen = sites(generator, layers=options.layers)
    drawn = codes(generator, more["samples"])
    move = fitted(drawn, path(drawn.float()).double() - drawn, ridge=more["ridge"], constant=more["constant"])
    fresh = codes(generator, max(JUDGED, more["samples"] // 4), start=more["samples"])
    wanted = path(fresh.float()).double()
    missed = (move.at(fresh, 1.0) - wanted).square().sum() / (wanted - fresh).square().sum().clamp(min=1e-300)
    share = 1 - float(missed)
    if not share >= LEAST:
        raise RewriteError(
            f"the affine move nearest to {name} has {max(share, 0):.0%} of its step on fresh codes; expected at least "
            f"{LEAST:.0%}, so take a shorter step or keep it as code"
        )
    error = change = 0.0
    with torch.no_grad():
        for part, there in zip(fresh[:JUDGED].split(BATCH), wanted[:JUDGED].split(BATCH), strict=True):
            here, along = (truncated(generator, x.float().to(generator.device), options) for x in (part, there))
            base, truth = (generator.synthesize(ws=ws, noise=options.noise) for ws in (here, along))
            with moved(everywhere(chosen, move)):
                found = generator.synthesize(ws=here, noise=options.noise)
            error += float((found - truth).abs().mean()) * len(part)
            change += float((truth - base).abs().mean()) * len(part)
    facts: dict[str, Any] = {
        "exact": False, "explained": short(share), "image_error": short(error / JUDGED),
        "image_change": short(change / JUDGED),
    }  # fmt: skip
    return Walk(
        name, everywhere(chosen, move), facts,
    )  # fmt: skip


def fitted(codes: Tensor, steps: Tensor, *, ridge: float = 1e-3, constant: bool = False) -> Move:
    """The affine move whose steps are nearest to `steps` (N, d) at codes (N, d), in squares; `ridge` is relative."""
    mean, step = codes.mean(0), steps.mean(0)
    if constant:
        return shift(step)
    centred = codes - mean
    gram = centred.T @ centred
    gram = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    linear = torch.linalg.solve(gram, centred.T @ (steps - step)).T
    return affine(torch.eye(len(linear), dtype=linear.dtype) + linear, step - linear @ mean)
