"""Scores of images: the area of a class, or what a callable says."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.concepts.interface import class_names
from rewrite.errors import RewriteError, nearest
from rewrite.generator import Generator
from rewrite.navigation.latent.walk import BATCH
from rewrite.navigation.methods import Options

Scores = Callable[[Tensor], Tensor]
"""Images (N, 3, H, W) to scores (N, K)."""


def scorer(options: Options, own: Callable[[Tensor], Tensor] | None) -> tuple[tuple[str, ...], Scores]:
    """Names of scores, and what gives them: `own` (images to (N,)), or areas of the segmenter's classes or of one.

    Areas are shares of the image, or of the region where one is given.
    """
    if own is not None:
        return (options.concept or "score",), lambda images: own(images).reshape(len(images), 1).double()
    if options.region is not None and options.region.seed is not None:
        raise RewriteError(
            f"scores compare many images, and {options.region.name} is a place on one of them; give a region without a "
            f"seed, or use lowrankgan, resefa, stylespace, hessian or concept"
        )
    if options.segmenter is None:
        raise RewriteError("nothing scores the images; give a segmenter, or `scores`, a callable from images to (N,)")
    names = class_names(options.segmenter)
    chosen = names if options.concept is None else (options.concept,)
    if options.concept is not None and options.concept not in names:
        raise RewriteError(f"the segmenter knows no {options.concept!r}; nearest: {nearest(options.concept, names)}")
    return chosen, lambda images: areas(options.segmenter, images, options)[:, [names.index(name) for name in chosen]]


def areas(segmenter: Segmenter | None, images: Tensor, options: Options) -> Tensor:
    """Shares (N, K) of the image, or of the region, that each class has."""
    assert segmenter is not None
    maps = label_maps(segmenter, images)
    where = torch.ones_like(images[:, :1]) if options.region is None else options.region(images)
    one_hot = torch.nn.functional.one_hot(maps, len(segmenter.classes)).double()
    inside = torch.einsum("nhwk,nhw->nk", one_hot, where[:, 0].double())
    return inside / where.double().sum((1, 2, 3)).clamp(min=1e-9)[:, None]


@torch.no_grad()
def scored(generator: Generator, options: Options, score: Scores, codes: Tensor) -> Tensor:
    """Scores (N, K) of the images of codes (N, d), as the options say; codes are truncated like any others."""
    found = []
    for start in range(0, len(codes), BATCH):
        ws = codes[start : start + BATCH].float().to(generator.device)
        found.append(score(generator.synthesize(ws=truncated(generator, ws, options), noise=options.noise)).cpu())
        options.progress("scoring images", min(start + BATCH, len(codes)), len(codes))
    return torch.cat(found)


def truncated(generator: Generator, ws: Tensor, options: Options) -> Tensor:
    """Codes pulled to the mean style, as `Generator.styles` does."""
    if options.truncation == 1.0:
        return ws
    mean = getattr(generator.network or generator.module, "mean_style", None)
    if not isinstance(mean, Tensor):
        raise RewriteError(f"truncation {options.truncation} needs a mean style, and there is none; use truncation 1")
    return mean + options.truncation * (ws - mean)
