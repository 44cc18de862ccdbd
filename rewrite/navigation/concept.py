"""Directions that change one concept, or one region, most for what they change elsewhere.

Both changes are squared lengths, so of all directions in a space these are the generalised eigenvectors of two
Gauss-Newton matrices, M_in x = ratio M_rest x: inside the eigenvectors of the whole change, where both are small dense
matrices and add up to the eigenvalues.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation import methods
from rewrite.navigation.direction import Found, kernel_edit, short
from rewrite.navigation.hessian import KNOWN, STEP, basis
from rewrite.navigation.methods import Options, only, whole
from rewrite.navigation.where import Where

BASIS = 4
"""Eigenvectors searched in, a direction that is asked for."""
RIDGE = 1e-2
"""Of the rest's mean eigenvalue, added to it: a direction that changes nothing at all is no answer."""


def concept(generator: Generator, options: Options) -> list[Found]:
    """The `count` directions of largest ratio; facts hold the ratio and the share of change inside, to first order.

    Inside is the options' region, or the concept of their segmenter. `more` may hold `vectors`, how many eigenvectors
    of the whole change are searched in (4 a direction, 16 at least), and what `hessian` takes. RewriteError where
    there is no inside, or it is nowhere to be seen.
    """
    only(options, "vectors", *KNOWN)
    inside = methods.placed(options)
    if inside is None:
        raise RewriteError("the method `concept` needs a place: give a region, or a segmenter and one of its concepts")
    everywhere = Where("everywhere", lambda images: torch.ones_like(images[:, :1]), seed=inside.seed)
    space_wide = replace(options, region=everywhere if inside.seed is not None else None)
    many = whole(options, "vectors", max(16, BASIS * options.count))
    if many < options.count:
        raise RewriteError(f"{options.count} directions were asked of {many} vectors; give `vectors` as many, or more")
    found = basis(generator, space_wide, many)
    answer = replace(found.answer, region=inside)
    total = torch.zeros(many, many, dtype=torch.float64)
    batches = answer.batches()
    for done, seeds in enumerate(batches):
        options.progress(f"change of {inside.name}", done, len(batches))
        total += answer.gram(found.space, found.pairs.vectors, seeds)
    options.progress(f"change of {inside.name}", len(batches), len(batches))
    within = total / len(answer.seeds)
    if not float(within.trace()) > 0:
        raise RewriteError(f"{inside.name} is in none of {len(answer.seeds)} images; look at more, or elsewhere")
    ratios, mixes = most(within, torch.diag(found.pairs.values) - within, options.count)
    size = STEP * float(answer.weight.norm())
    made = []
    for i, (ratio, mix) in enumerate(zip(ratios.tolist(), mixes, strict=True)):
        vector = mix @ found.pairs.vectors
        vector = vector * torch.sign(vector[vector.abs().argmax()])
        share = float(mix @ within @ mix) / float(mix.square() @ found.pairs.values)
        facts = {
            "ratio": short(ratio), "share_inside": short(share), "inside": inside.name, "vectors": many,
            "norm": short(size),
        }  # fmt: skip
        edit = kernel_edit(
            generator, answer.layer, found.space.operation(vector * size),
            facts={"direction": facts},
        )  # fmt: skip
        made.append(Found(edit, f"{inside.name} {answer.layer.name} {i}", facts))
    return made


def most(within: Tensor, rest: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest ratios (k,) of x' within x over x' rest x, rest with its ridge, and unit vectors x (k, m)."""
    size = len(rest)
    floor = RIDGE * (within + rest).trace() / size * torch.eye(size, dtype=rest.dtype)
    # By rounding the rest may be a little less than nothing where all change is inside.
    values, vectors = torch.linalg.eigh((rest + rest.T) / 2)
    factor = torch.linalg.cholesky((vectors * values.clamp(min=0)) @ vectors.T + floor)
    half = torch.linalg.solve_triangular(factor, (within + within.T) / 2, upper=False)
    small = torch.linalg.solve_triangular(factor, half.T, upper=False)
    ratios, found = torch.linalg.eigh((small + small.T) / 2)
    mixes = torch.linalg.solve_triangular(factor.T, found, upper=True).T.flip(0)[:count]
    return ratios.flip(0)[:count], mixes / mixes.norm(dim=1, keepdim=True)
