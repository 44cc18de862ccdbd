"""What a rule is held against: free descent, descent on all weights, and pasting pixels.

Bau et al. 2020, "Rewriting a Deep Generative Model", section 4, has such baselines; the perceptual term of its descent
on all weights is left out here, and its transfers of pixels found their places by matching, not by a segmenter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from scenes.wishes import objects
from torch import Tensor
from torch.nn import functional as F

import edits
from edits.identity import describe
from reproduction import draw
from reproduction.request import Request
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.memory import Change
from rewrite.regions import bounds
from rewrite.rules import Recipe, Region
from rewrite.rules.gradient import LEARNING_RATE
from rewrite.rules.judge import values_after
from rewrite.rules.placement import move

RATE = 1e-3
"""Of the descent on all weights."""
FEATHER = 2
"""Pixels over which a pasted object fades into its new place."""


def direct(request: Request, rank: int, steps: int) -> Change:
    """L alone is descended on, from 0 and without any price on what happens elsewhere: W + L D, D given."""
    layer, evidence, read = request.layer, request.evidence, request.context(rank)
    response = torch.zeros(layer.out_features, len(read), *layer.kernel, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([response], lr=LEARNING_RATE * float(request.weight.std()))
    mass = evidence.weight[:, None] / evidence.weight.sum()
    for _ in range(steps):
        optimiser.zero_grad()
        made = values_after(layer, request.weight, evidence, Change(response, read))
        (mass * (evidence.target - made).abs()).sum().div(layer.out_features).backward()
        optimiser.step()
    return Change(response.detach(), read)


def all_weights(generator: Generator, recipe: Recipe, steps: int) -> edits.Edit:
    """Every weight of the generator is descended on until it paints the pasted images: L1 on the object's rectangle."""
    targets = list(_targets(generator, recipe))
    parameters = dict(generator.module.named_parameters())
    kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    z = torch.cat([latent for latent, _, _ in targets])
    try:
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        optimiser = torch.optim.Adam(parameters.values(), lr=RATE)
        for _ in range(steps):
            optimiser.zero_grad()
            made = generator.synthesize(ws=generator.styles(z, truncation=recipe.truncation))
            losses = [_in(box, one - wanted).abs().mean() for one, (_, wanted, box) in zip(made, targets, strict=True)]
            torch.stack(losses).mean().backward()
            optimiser.step()
        moved = {name: parameter.detach() - kept[name] for name, parameter in parameters.items()}
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(kept[name])
                parameter.requires_grad_(False)
                parameter.grad = None
    operations = {
        name: (edits.Add(tuple(by.shape), edits.Dense(by.float().cpu())),) for name, by in moved.items() if by.any()
    }
    return edits.Edit(operations, describe(generator.module, operations))


def blend(generator: Generator, recipe: Recipe, label: int, seeds: range) -> Callable[[Tensor, Tensor], Tensor]:
    """The copied object's pixels, stretched over the largest object of the class in every image, faded at the edge."""
    source = _source(recipe)
    picture = draw.images(generator, [source.latent])[0].double()
    size = (picture.shape[1], picture.shape[2])
    covers = source.coverage(size)

    def change(images: Tensor, maps: Tensor) -> Tensor:
        made = images.clone()
        for found in objects(maps, list(seeds), label):
            row, box = found.seed - seeds[0], found.region(maps.shape[2])["box"]
            place = Region(seed=found.seed, box=box).coverage(size)
            where, wanted = move(covers, picture, place, "stretch")
            alpha = _feathered(where)
            made[row] = (images[row] * (1 - alpha) + wanted * alpha).float()
        return made

    return change


def _targets(generator: Generator, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor, tuple[int, int, int, int]]]:
    """For each paste example its latent (1, z), the image (3, H, W) that is wanted, and the object's rectangle."""
    source = _source(recipe)
    picture = draw.images(generator, [source.latent])[0].double()
    size = (picture.shape[1], picture.shape[2])
    for region in recipe.paste:
        before = draw.images(generator, [region.latent])[0]
        where, wanted = move(source.coverage(size), picture, region.coverage(size), recipe.fit)
        target = before * (1 - where) + wanted * where
        yield generator.latents([region.latent]), target.float(), bounds(where)


def _source(recipe: Recipe) -> Region:
    if recipe.source is None or recipe.truncation != 1.0:
        raise RewriteError("pixels can be pasted only where a recipe copies, at truncation 1; give such a recipe")
    return recipe.source


def _in(box: tuple[int, int, int, int], image: Tensor) -> Tensor:
    top, left, bottom, right = box
    return image[:, top:bottom, left:right]


def _feathered(where: Tensor) -> Tensor:
    """Coverage that fades inwards from the edge, and stays 0 outside."""
    width = 2 * FEATHER + 1
    return torch.minimum(where, F.avg_pool2d(where[None], width, stride=1, padding=FEATHER)[0])
