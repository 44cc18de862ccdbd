"""GANSpace: principal components of codes, or of activations carried back to codes (Haerkoenen et al. 2020, "GANSpace:
Discovering Interpretable GAN Controls").
"""

from __future__ import annotations

import torch
from torch import Tensor

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation import krylov
from rewrite.navigation.latent.principal import Principal
from rewrite.navigation.latent.sites import sites
from rewrite.navigation.latent.walk import BATCH, Walk, along, asked, codes, short, signed
from rewrite.navigation.methods import Options

SAMPLES = 10_000
ACTIVATIONS = 512
PART = 1024


def ganspace(generator: Generator, options: Options) -> list[Walk]:
    """Components, largest variance first; a step of strength 1 is one standard deviation of the codes along it.

    `more`: `samples`; `form` and, for the projective one (published as centred), `target` in standard deviations from
    the mean; `activations`, the layer whose input's components are carried back to the code by least squares. Codes
    that are drawn the same in all directions (z) have no components of their own, and need that layer.
    """
    more = asked(options, samples=None, form="shift", target=0.0, activations=None)
    chosen = sites(generator, layers=options.layers)
    layer = more["activations"]
    samples = more["samples"] or (ACTIVATIONS if layer else SAMPLES)
    drawn = codes(generator, samples, progress=options.progress)
    if layer:
        directions, shares = carried_back(drawn, activations(generator, layer, samples), options.count)
    else:
        if not _mapped(generator):
            raise RewriteError(
                f"codes of {generator.name or generator.architecture} are drawn alike in all directions, so they have "
                f"no principal ones; name a layer in `activations`"
            )
        gathered = Principal.empty(drawn.shape[1])
        for part in drawn.split(PART):
            gathered = gathered.add(part)
        directions, _, shares = gathered.components(options.count)
    walks = []
    for i, (direction, share) in enumerate(zip(directions, shares, strict=True)):
        unit = signed(direction)
        component = drawn @ unit
        sigma, mean = float(component.std()), float(component.mean()) if _mapped(generator) else 0.0
        walks.append(
            Walk(
                f"ganspace {i}",
                along(chosen, unit, more["form"], size=sigma, target=mean + more["target"] * sigma),
                {"sigma": short(sigma), "share": short(share), "exact": True},
            )
        )  # fmt: skip
    return walks


def carried_back(codes: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Unit directions (count, d) of codes (n, d) that go with the components of features (n, f), and their shares.

    Least squares of codes on the components' coordinates, each over its standard deviation.
    """
    if not 0 < count < len(features):
        raise RewriteError(f"{count} components were asked of {len(features)} samples; expected fewer than samples")
    centred = (features - features.mean(0)).double()
    pairs = krylov.top(lambda vectors, _: vectors @ centred.T @ centred, 1, centred.shape[1], count, what="components")
    coordinates = centred @ pairs.vectors.T
    solved = torch.linalg.lstsq(coordinates / coordinates.std(0), codes - codes.mean(0)).solution
    return torch.nn.functional.normalize(solved, dim=1), pairs.values / centred.square().sum()


@torch.no_grad()
def activations(generator: Generator, layer: str, samples: int) -> Tensor:
    """The layer's inputs (samples, features) of the seeds from 0 on, whole maps as they are."""
    drawn = []
    for start in range(0, samples, BATCH):
        z = generator.latents(range(start, min(start + BATCH, samples)))
        drawn.append(generator.run_to(layer, z).key.flatten(1).cpu())
    return torch.cat(drawn)


def _mapped(generator: Generator) -> bool:
    return not torch.equal(generator.styles(z := generator.latents([0])), z)
