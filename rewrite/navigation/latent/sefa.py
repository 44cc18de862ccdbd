"""SeFa: directions that the affine layers amplify most (Shen and Zhou 2021, "Closed-Form Factorization of Latent
Semantics in GANs", equation 6): top eigenvectors of A'A, rows of A at unit length.

As published, A is all styles of convolutions; of image layers it holds the last alone, or all, or none (`images`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation.latent.sites import Site, parameters, sites
from rewrite.navigation.latent.walk import Walk, along, asked, paints, short, signed
from rewrite.navigation.methods import Options


def sefa(generator: Generator, options: Options) -> list[Walk]:
    """Directions of w (or of z, where the first layer reads it), largest eigenvalue first; strength 1 is a step of 1.

    `more`: `form` and, for the projective one, `target`; `images` (last, all or none); `normalised` (rows of A at unit
    length, as published).
    """
    more = asked(options, form="shift", target=0.0, images="last", normalised=True)
    chosen = sites(generator, layers=options.layers)
    values, vectors = factors(_matrices(generator, chosen, more["images"]), normalised=more["normalised"])
    if not 0 < options.count <= len(values):
        raise RewriteError(f"count is {options.count}; expected 1 to {len(values)}, as a code has so many numbers")
    total = float(values.sum())
    return [
        Walk(
            f"sefa {i}",
            along(chosen, vectors[i], more["form"], target=more["target"]),
            {"eigenvalue": short(values[i]), "share": short(values[i] / total), "exact": True},
        )
        for i in range(options.count)
    ]


def factors(matrices: list[Tensor], *, normalised: bool = True) -> tuple[Tensor, Tensor]:
    """Eigenvalues (d,), largest first, and unit eigenvectors (d, d) as rows, of the A'A of these A (out, d)."""
    gram = sum((rows.T @ rows for rows in (F.normalize(m, dim=1) if normalised else m for m in matrices)), start=0)
    values, vectors = torch.linalg.eigh(torch.as_tensor(gram))
    rows = vectors.flip(1).T
    return values.flip(0).clamp(min=0), torch.stack([signed(row) for row in rows])


def _matrices(generator: Generator, chosen: tuple[Site, ...], images: str) -> list[Tensor]:
    if images not in ("last", "all", "none"):
        raise RewriteError(f"images is {images!r}; expected last, all or none, of the image layers' styles")
    painting = [site for site in chosen if paints(generator, site)]
    left_out = {"last": painting[:-1], "all": [], "none": painting}[images]
    kept = [site for site in chosen if site not in left_out]
    if not kept:
        raise RewriteError("all chosen layers are image layers and none is to be looked at; use images=all")
    tensors = parameters(kept, generator)
    return [site.matrix(tensors) * site.weight_gain for site in kept]
