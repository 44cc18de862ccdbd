"""Style channels: their spread over codes, and where in the image each of them shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edits.identity import state
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation.latent.scores import truncated
from rewrite.navigation.latent.sites import Site
from rewrite.navigation.latent.walk import paints
from rewrite.navigation.methods import Options


def styled(generator: Generator, chosen: Sequence[Site], *, images: bool = False) -> list[Site]:
    """The sites that give styles, without the image layers' unless `images`; RewriteError if there are none."""
    found = [site for site in chosen if site.rows and len(site.out_shape) == 1 and site.bias]
    found = [site for site in found if images or not paints(generator, site)]
    if not found:
        raise RewriteError(
            f"{generator.name or generator.architecture} has no styles: its code is read once, as the first features; "
            f"move the code, or edit units"
        )
    return found


def styles(generator: Generator, site: Site, codes: Tensor) -> Tensor:
    """The site's styles (N, channels) float64 of codes (N, w)."""
    tensors = dict(state(generator.module))
    value = codes.double() @ site.matrix(tensors).T * site.weight_gain
    return value if site.bias is None else value + tensors[site.bias].detach().cpu().double() * site.bias_gain


@dataclass(frozen=True)
class Energy:
    """Mean squared change of pixels, inside a region and elsewhere, for one standard deviation of each channel."""

    inside: Tensor
    """(channels,) float64, per pixel of the region."""
    outside: Tensor


def energies(
    generator: Generator,
    chosen: Sequence[Site],
    deviations: Sequence[Tensor],
    codes: Tensor,
    options: Options,
    *,
    probes: int,
) -> list[Energy]:
    """One a site: E over codes of |d image / d s_c|^2 inside the region and outside it, to first order.

    A vector r of random signs on the pixels of a part has E (r' J_c)^2 = |J_c|^2 there (Hutchinson 1990), and one
    backward pass gives r' J_c for all channels of all sites at once, where StyleSpace takes one a pixel.
    """
    if options.region is None:
        raise RewriteError("no region was given, so no channel is local to it; give a box, a mask or a concept")
    signs = torch.Generator().manual_seed(0)
    covered = 0.0
    totals = [[torch.zeros(site.out_shape[0], dtype=torch.float64) for _ in range(2)] for site in chosen]
    for row, code in enumerate(codes):
        ws = truncated(generator, code[None].float().to(generator.device), options)
        with leaves(chosen) as kept:
            image = generator.synthesize(ws=ws, noise=options.noise)
            inside = options.region(image.detach())
            for part, where in enumerate((inside, 1 - inside)):
                pixels = float(where.sum()) * image.shape[1]
                for _ in range(probes if pixels > 0 else 0):
                    r = torch.randint(0, 2, image.shape, generator=signs).to(image) * 2 - 1
                    probed, leaf = (image * r * where.sqrt()).sum(), [kept[site.name] for site in chosen]
                    slopes = torch.autograd.grad(probed, leaf, retain_graph=True)
                    for i, slope in enumerate(slopes):
                        totals[i][part] += (slope[0].cpu().double() * deviations[i]).square() / (probes * pixels)
        covered += float(inside.double().mean()) / len(codes)
        options.progress("looking where channels show", row + 1, len(codes))
    if not covered > 0:
        raise RewriteError(f"{options.region.name} is in none of {len(codes)} images; look at more, or elsewhere")
    return [Energy(inside / len(codes), outside / len(codes)) for inside, outside in totals]


@contextmanager
def leaves(chosen: Sequence[Site]) -> Iterator[dict[str, Tensor]]:
    """Within the block the sites' values are leaves of the graph of gradients: by site, once the pass has run."""
    kept: dict[str, Tensor] = {}

    def cut(name: str) -> Callable[..., Tensor]:
        def hook(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
            kept[name] = output.detach().requires_grad_(True)
            return kept[name]

        return hook

    handles = [site.module.register_forward_hook(cut(site.name)) for site in chosen]
    try:
        with torch.enable_grad():
            yield kept
    finally:
        for handle in handles:
            handle.remove()
