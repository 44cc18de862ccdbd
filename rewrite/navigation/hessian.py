"""Directions that change images most per unit of change of a kernel: eigenvectors of the perceptual Hessian.

Cherepkov et al. 2021, "Navigating the GAN Parameter Space for Semantic Image Editing", section 3.2, where the Hessian
of LPIPS is estimated by differences of gradients, a vector at a time. LPIPS is a squared length, so at no change its
Hessian is exactly twice the Gauss-Newton matrix E[J' J], which is multiplied here by whole blocks of vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edits.canonical import Json
from edits.identity import state
from rewrite import keep
from rewrite.errors import RewriteError
from rewrite.generator import Generator, Layer
from rewrite.navigation import krylov
from rewrite.navigation.direction import Found, kernel_edit, short
from rewrite.navigation.jacobian import Answer
from rewrite.navigation.methods import Options, number, only, whole
from rewrite.navigation.metric import SIDE, metric
from rewrite.navigation.subspace import Subspace, ansatz

STEP = 0.1
"""Strength 1 of a direction that is not yet calibrated, as a share of the kernel's norm."""
KEYS = 32
"""Seeds that an ansatz is made by, at most."""
ROOM = "navigation"
"""Where long searches are kept."""
KNOWN = ("tolerance", "passes", "cache")
"""What `more` may hold."""
VERSION = 2
"""Of this one."""


@dataclass(frozen=True, eq=False)
class Basis:
    """The eigenpairs of one layer, and where they were found."""

    answer: Answer
    space: Subspace
    pairs: krylov.Pairs

    @property
    def passes(self) -> dict[str, Json]:
        """What they cost: images made by the generator, and images differentiated, by vector and direction."""
        seeds, block, passes = len(self.answer.seeds), self.pairs.block, self.pairs.passes
        ways = 1 if block == self.space.dimension else 2
        return {"over_latents": passes, "latents": seeds, "block": block, "derivatives": ways * seeds * block * passes}


def hessian(generator: Generator, options: Options) -> list[Found]:
    """The top `count` eigenvectors, largest first; facts hold each one's eigenvalue, residual and share of the trace.

    The eigenvalue is the mean distance over the squared Frobenius norm of a small change. `more` may hold `tolerance`
    (of residuals, 0.02 of each eigenvalue), `passes` (8 at most) and `cache` (True: what was found is kept and gone on
    from).
    """
    only(options, *KNOWN)
    found = basis(generator, options, options.count)
    size = STEP * float(found.answer.weight.norm())
    made = []
    for i, (value, vector, residual) in enumerate(
        zip(found.pairs.values.tolist(), found.pairs.vectors, found.pairs.residuals.tolist(), strict=True)
    ):
        facts = {
            "eigenvalue": short(value),
            "residual": short(residual / value) if value > 0 else None,
            "share": short(value / found.pairs.trace) if found.pairs.trace > 0 else None,
            "norm": short(size),
            "passes": found.passes,
        }
        edit = kernel_edit(
            generator, found.answer.layer, found.space.operation(vector * size),
            facts={"direction": facts},
        )  # fmt: skip
        made.append(Found(edit, f"hessian {found.answer.layer.name} {i}", facts))
    return made


def basis(generator: Generator, options: Options, count: int) -> Basis:
    """The top `count` eigenpairs of E[J' J] of a layer's weight, in the full kernel or the ansatz that is asked for."""
    answer = answer_of(generator, options)
    seeds = answer.seeds[:KEYS]
    space = ansatz(
        generator, answer.layer, options.ansatz,
        latents=seeds, truncation=options.truncation, noise=options.noise, progress=options.progress,
    )  # fmt: skip
    batches = answer.batches()
    ends = {"tolerance": number(options, "tolerance", 0.02), "passes": whole(options, "passes", 8)}
    conditions = _conditions(answer, space, count) | ends
    path = keep.place(ROOM, VERSION, conditions) if options.more.get("cache", True) else None

    def part(vectors: Tensor, batch: int) -> Tensor:
        if len(vectors) == space.dimension:
            # They span the space, so V H = (V H V') V, and V H V' takes derivatives forwards alone.
            return answer.gram(space, vectors, batches[batch]) @ vectors / len(answer.seeds)
        return answer.products(space, vectors, batches[batch]) / len(answer.seeds)

    pairs = krylov.top(
        part, len(batches), space.dimension, count, tolerance=ends["tolerance"], passes=int(ends["passes"]),
        path=path, progress=options.progress, what=f"hessian of {answer.layer.name}",
    )  # fmt: skip
    if not float(pairs.values[0]) > 0:
        where = "" if options.region is None else f" in {options.region.name}"
        raise RewriteError(
            f"no change of {answer.layer.name} shows{where} on {len(answer.seeds)} images; look at more images, "
            f"elsewhere, or at another layer"
        )
    return Basis(answer, space, pairs)


def answer_of(generator: Generator, options: Options) -> Answer:
    """The images of the seeds that are asked for, as a function of the one layer that is asked for."""
    side = SIDE if options.size is None else options.size
    seeds = tuple(range(options.latents)) if options.region is None else options.region.seeds(options.latents)
    return Answer(
        generator, layer_of(generator, options),
        metric(options.net, side=side, device=generator.device, progress=options.progress),
        seeds, options.truncation, options.noise, options.region,
    )  # fmt: skip


def layer_of(generator: Generator, options: Options) -> Layer:
    """The one layer that is asked for; RewriteError unless it is one."""
    if len(options.layers) != 1:
        raise RewriteError(
            f"{len(options.layers)} layers were given; a method of parameter space moves one kernel, so name one layer"
        )
    return generator.layer(options.layers[0])


def _conditions(answer: Answer, space: Subspace, count: int) -> dict[str, Any]:
    """All that the products hang on; what a region covers is told by the first images."""
    witness = {}
    if answer.region is not None:
        with torch.no_grad():
            flow = answer.flow(answer.seeds[:4])
            witness["region"] = answer.region(answer.generator.finish(flow, answer.layer.stage))
    if space.left is not None and space.right is not None:
        witness |= {"left": space.left, "right": space.right}
    return {
        "method": "hessian",
        "weights": keep.digest(state(answer.generator.module)),
        "layer": answer.layer.name,
        "metric": answer.metric.facts,
        "seeds": list(answer.seeds),
        "truncation": answer.truncation,
        "noise": answer.noise,
        "device": answer.generator.device.type,
        "witness": keep.digest(witness),
        "count": count,
    }
