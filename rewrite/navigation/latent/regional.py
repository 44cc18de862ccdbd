"""Directions that change a region and, to first order, nothing else.

LowRankGAN: Zhu et al. 2021, "Low-Rank Subspaces in GANs" (the region's principal directions, projected on the null
space of the rest). ReSeFa: Zhu et al. 2022, "Region-Based Semantic Factorization in GANs" (a generalised eigenproblem).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation.jacobian import TANGENT_PIXELS
from rewrite.navigation.latent.fold import everywhere, moved, stepped
from rewrite.navigation.latent.moves import shift
from rewrite.navigation.latent.robust import low_rank_part
from rewrite.navigation.latent.scores import truncated
from rewrite.navigation.latent.sites import Site, sites
from rewrite.navigation.latent.walk import Walk, along, asked, codes, short, signed
from rewrite.navigation.methods import Options, placed

SYNTHESES = 5
SIDE = 32
CHUNK = 16
"""Forward derivatives taken at once, at most."""
JUDGED = 16
NEGLIGIBLE = 1e-6
RIDGE = 1e-3


def lowrankgan(generator: Generator, options: Options) -> list[Walk]:
    """Principal directions of the region, largest change first, without what they change elsewhere.

    `more`: `syntheses` that the Jacobian is averaged over (published: one), `side` in px that images are averaged to,
    `relax`, how many of the rest's weakest directions may change after all, `form` and `target`. Strength 1 is one
    standard deviation of the codes. Facts: ranks, `leak` (change per pixel elsewhere over that in the region, to first
    order) and `measured_leak` (the same of images at strength 1, fresh seeds).
    """
    more = asked(options, syntheses=SYNTHESES, side=SIDE, relax=0, form="shift", target=0.0)
    chosen = sites(generator, layers=options.layers)
    inside, outside = energies(generator, chosen, options, syntheses=more["syntheses"], side=more["side"])
    found, ranks = subspace(inside, outside, relax=more["relax"])
    return _walks("lowrankgan", generator, chosen, found, inside, outside, options, more, ranks)


def resefa(generator: Generator, options: Options) -> list[Walk]:
    """Directions of the largest ratio of change in the region to change elsewhere; `more` as `lowrankgan`, and `ridge`,
    the share of the mean change elsewhere that is added to it in all directions.
    """
    more = asked(options, syntheses=SYNTHESES, side=SIDE, ridge=RIDGE, form="shift", target=0.0)
    chosen = sites(generator, layers=options.layers)
    inside, outside = energies(generator, chosen, options, syntheses=more["syntheses"], side=more["side"])
    if not float(outside.trace()) > 0:
        raise RewriteError("the region leaves nothing outside to hold still; give a smaller one, or use lowrankgan")
    found = ratio(inside, outside, ridge=more["ridge"])
    return _walks("resefa", generator, chosen, found, inside, outside, options, more, {})


def subspace(inside: Tensor, outside: Tensor, *, relax: int = 0) -> tuple[Tensor, dict[str, int]]:
    """Unit directions (k, d) from J'J of the region and of the rest (d, d); and the ranks of their low-rank parts."""
    low_in, low_out = low_rank_part(inside)[0], low_rank_part(outside)[0]
    principal, rank_in = _ordered(low_in)
    others, rank_out = _ordered(low_out)
    free = others[max(rank_out - relax, 0) :]
    if not len(free):
        raise RewriteError(
            f"the rest of the image changes in all {len(others)} directions, so none is left for the region; allow "
            f"some of them with `relax`, choose fewer layers, or use resefa"
        )
    projected = principal[:rank_in] @ free.T @ free
    kept = projected[projected.norm(dim=1) > NEGLIGIBLE]
    if not len(kept):
        raise RewriteError("all that changes the region changes the rest too; allow some with `relax`, or use resefa")
    return F.normalize(kept, dim=1), {"rank_inside": rank_in, "rank_outside": rank_out}


def ratio(inside: Tensor, outside: Tensor, *, ridge: float = RIDGE) -> Tensor:
    """Unit directions (d, d) as rows, those first of the largest v' inside v / v' outside v."""
    floor = outside + ridge * outside.diagonal().mean() * torch.eye(len(outside), dtype=outside.dtype)
    triangle = torch.linalg.cholesky(floor)
    half = torch.linalg.solve_triangular(triangle, inside, upper=False)
    whitened = torch.linalg.solve_triangular(triangle, half.T, upper=False)
    vectors = torch.linalg.eigh((whitened + whitened.T) / 2).eigenvectors.flip(1)
    return F.normalize(torch.linalg.solve_triangular(triangle.T, vectors, upper=True).T, dim=1)


def energies(
    generator: Generator, chosen: Sequence[Site], options: Options, *, syntheses: int, side: int
) -> tuple[Tensor, Tensor]:
    """J'J (d, d) float64 per pixel of the region and of the rest: J is the Jacobian of the image, averaged to `side`
    px, by one step of the code at all chosen sites; mean over the first seeds, or of the one the region is painted on.
    """
    region = placed(options)
    if region is None:
        raise RewriteError("no region was given, so no direction is local to it; give a box, a mask or a concept")
    totals, covered = None, 0.0
    seeds = region.seeds(syntheses)
    for row, code in enumerate(codes(generator, len(seeds), start=seeds[0])):
        ws = truncated(generator, code[None].float().to(generator.device), options)
        with torch.no_grad():
            where = averaged(region(generator.synthesize(ws=ws, noise=options.noise)), side)[0, 0]
        covered += float(where.double().mean()) / len(seeds)
        jacobian = _jacobian(generator, chosen, ws, options, side, (row, len(seeds))).double().cpu()
        parts = [_gram(jacobian, part.double().cpu()) for part in (where, 1 - where)]
        totals = parts if totals is None else [one + other for one, other in zip(totals, parts, strict=True)]
    assert totals is not None
    if not covered > 0:
        raise RewriteError(f"{region.name} is in none of {len(seeds)} images; look at more, or elsewhere")
    return totals[0] / len(seeds), totals[1] / len(seeds)


def averaged(images: Tensor, side: int) -> Tensor:
    """Images (N, C, H, W) at most `side` px wide, each pixel the mean of those it stands for."""
    return F.adaptive_avg_pool2d(images, side) if images.shape[-1] > side else images


def _jacobian(
    generator: Generator, chosen: Sequence[Site], ws: Tensor, options: Options, side: int, place: tuple[int, int]
) -> Tensor:
    """(3, h, w, d) by forward derivatives; `place` is the image's number, and how many there are."""

    def image(step: Tensor) -> Tensor:
        with stepped(chosen, lambda _site: step):
            return averaged(generator.synthesize(ws=ws, noise=options.noise), side)[0]

    zero = torch.zeros_like(ws[0])

    def slope(direction: Tensor) -> Tensor:
        slope: Tensor = torch.func.jvp(image, (zero,), (direction,))[1]
        return slope

    row, rows = place
    at_once = max(1, min(CHUNK, TANGENT_PIXELS // generator.resolution**2))
    jacobian = torch.empty(*image(zero).shape, len(zero), device=zero.device)
    for first in range(0, len(zero), at_once):
        options.progress("differentiating images", row * len(zero) + first, rows * len(zero))
        directions = torch.eye(len(zero))[first : first + at_once].to(zero)
        jacobian[..., first : first + at_once] = torch.func.vmap(slope, out_dims=-1)(directions)
    options.progress("differentiating images", (row + 1) * len(zero), rows * len(zero))
    return jacobian


def _gram(jacobian: Tensor, where: Tensor) -> Tensor:
    return torch.einsum("chwd,hw,chwe->de", jacobian, where, jacobian) / (3 * where.sum()).clamp(min=1e-9)


def _ordered(matrix: Tensor) -> tuple[Tensor, int]:
    """Eigenvectors as rows, of the largest absolute eigenvalue first, and the rank."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    order = torch.argsort(values.abs(), descending=True)
    sizes = values.abs()[order]
    return vectors.T[order], int((sizes > NEGLIGIBLE * sizes[0].clamp(min=1e-300)).sum())


def _walks(
    method: str, generator: Generator, chosen: tuple[Site, ...], found: Tensor, inside: Tensor, outside: Tensor,
    options: Options, more: dict[str, Any], facts: dict[str, int],
) -> list[Walk]:  # fmt: skip
    drawn = codes(generator, 1_000)
    walks = []
    for i, direction in enumerate(found[: options.count]):
        unit = signed(direction)
        here, there = float(unit @ inside @ unit), float(unit @ outside @ unit)
        sigma = float((drawn @ unit).std())
        walks.append(
            Walk(
                f"{method} {i}",
                along(chosen, unit, more["form"], size=sigma, target=more["target"]),
                {
                    "leak": short((there / max(here, 1e-300)) ** 0.5), "sigma": short(sigma), "exact": True,
                    "measured_leak": short(_leak(generator, chosen, unit * sigma, options)), **facts,
                },
            )
        )  # fmt: skip
    return walks


@torch.no_grad()
def _leak(generator: Generator, chosen: Sequence[Site], step: Tensor, options: Options) -> float:
    """Root mean square change of pixels elsewhere over that in the region, of images of fresh seeds.

    Of a region that is painted on one image there are no others.
    """
    region = placed(options)
    assert region is not None
    sums, seed = torch.zeros(4, dtype=torch.float64), region.seed
    judged = codes(generator, JUDGED, start=10_000) if seed is None else codes(generator, 1, start=seed)
    for code in judged:
        ws = truncated(generator, code[None].float().to(generator.device), options)
        base = generator.synthesize(ws=ws, noise=options.noise)
        with moved(everywhere(chosen, shift(step))):
            change = (generator.synthesize(ws=ws, noise=options.noise) - base).square().mean(1, keepdim=True)
        where = region(base)
        parts = (change * where, where, change * (1 - where), 1 - where)
        sums += torch.stack([part.double().sum().cpu() for part in parts])
    here, there = sums[0] / sums[1].clamp(min=1e-9), sums[2] / sums[3].clamp(min=1e-9)
    return float((there / here.clamp(min=1e-300)).sqrt())
