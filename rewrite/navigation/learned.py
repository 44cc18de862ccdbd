"""Directions that can be told apart: learnt together with a network that names which one moved an image, and how far.

Voynov and Babenko 2020, "Unsupervised Discovery of Interpretable Directions in the GAN Latent Space", section 3;
Cherepkov et al. 2021 for kernels, in the basis of their spectrum or Hessian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

import edits
from edits import Add, Dense, LowRank
from edits.identity import state
from rewrite import keep
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation import methods
from rewrite.navigation.calibration import SHARE, bench
from rewrite.navigation.direction import Found, kernel_edit, scaled, short
from rewrite.navigation.hessian import KNOWN, ROOM, answer_of
from rewrite.navigation.jacobian import Answer
from rewrite.navigation.methods import Options, number, only, whole

STEPS, BATCH, RATE = 2000, 8, 1e-3
VECTORS = 2
"""Basis vectors a direction."""
FURTHEST, NEAREST = 2.0, 0.5
"""Strengths that are drawn, in units of the basis vectors' own change."""
SHIFT_WEIGHT = 0.25
SIDE = 64
"""What the reconstructor looks at, in px at most."""
FRESH = 10
"""Batches of other seeds by which accuracy is measured."""
VERSION = 1
"""Of what is learnt and how: a change of it must not find older work."""
EVERY = 200
"""Steps between two savings."""


class Reconstructor(nn.Module):
    """Pairs of images, (N, 3, H, W) each, to logits (N, directions) and strengths (N,)."""

    def __init__(self, directions: int, width: int = 32):
        super().__init__()
        sizes = (6, width, 2 * width, 4 * width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(sizes)
        )
        self.hidden = nn.Linear(sizes[-1] * 16, 4 * width)
        self.which, self.far = nn.Linear(4 * width, directions), nn.Linear(4 * width, 1)

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([one, other - one], 1)
        if max(x.shape[2:]) > SIDE:
            x = F.adaptive_avg_pool2d(x, SIDE)
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.2)
        x = F.leaky_relu(self.hidden(F.adaptive_avg_pool2d(x, 4).flatten(1)), 0.2)
        return self.which(x), self.far(x)[:, 0]


def learned(generator: Generator, options: Options) -> list[Found]:
    """`count` directions, those that are told apart best first; facts hold each one's accuracy, and that of all.

    `more` may hold `basis` (`hessian` or `spectrum`), `vectors` (2 a direction), `steps` (2000), `batch` (8), `rate`
    (0.001), `cache`, and what the basis takes. An interrupted training goes on to the same bits.
    """
    only(options, "basis", "vectors", "steps", "batch", "rate", *KNOWN)
    more: dict[str, Any] = {
        "basis": options.more.get("basis", "hessian"),
        "vectors": whole(options, "vectors", VECTORS * options.count),
        "steps": whole(options, "steps", STEPS),
        "batch": whole(options, "batch", BATCH),
        "rate": number(options, "rate", RATE),
        "cache": options.more.get("cache", True),
    }
    if more["basis"] not in ("hessian", "spectrum"):
        raise RewriteError(f"basis is {more['basis']!r}; expected `hessian` or `spectrum`")
    own = {name: value for name, value in options.more.items() if name in KNOWN and more["basis"] == "hessian"}
    found = methods.method(more["basis"])(generator, replace(options, count=more["vectors"], more=own))
    answer = answer_of(generator, options)
    between = bench(
        generator, answer.metric, seeds=range(4), truncation=options.truncation, noise=options.noise
    ).between
    vectors = [_alike(one, SHARE * between) for one in found]
    changes = torch.stack([_dense(generator, answer, one) for one in vectors])
    coefficients, accuracy = _trained(answer, changes, options, more)
    made = []
    for rank, k in enumerate(accuracy.argsort(descending=True, stable=True).tolist()):
        facts = {
            "accuracy": short(float(accuracy[k])), "accuracy_of_all": short(float(accuracy.mean())),
            "basis": more["basis"], "steps": more["steps"],
        }  # fmt: skip
        edit = kernel_edit(
            generator, answer.layer, mixture([one.operations[answer.layer.weight][0] for one in vectors],
                                             coefficients[k]),
            facts={"direction": facts},
        )  # fmt: skip
        made.append(Found(edit, f"learned {answer.layer.name} {rank}", facts))
    return made


def mixture(operations: Sequence[Any], coefficients: Tensor) -> Add:
    """The sum of adds to one tensor, each times its coefficient (m,), as small as it can be stored."""
    forms = [one.form for one in operations]
    weights = coefficients.tolist()
    first = forms[0]
    if all(isinstance(one, LowRank) and one.left_axes == first.left_axes for one in forms):
        if all(torch.equal(one.right, first.right) for one in forms):
            left = sum(one.left.double() * weight for one, weight in zip(forms, weights, strict=True)).float()
            return Add(operations[0].shape, replace(first, left=left))
        left = torch.cat([one.left * weight for one, weight in zip(forms, weights, strict=True)], 1)
        right = torch.cat([one.right for one in forms])
        if left.numel() + right.numel() < len(left) * right.shape[1]:
            return Add(operations[0].shape, replace(first, left=left, right=right))
        return Add(operations[0].shape, LowRank(
            left @ right, torch.eye(right.shape[1]), first.left_axes, first.right_axes
        ))  # fmt: skip
    dense = sum(one.dense.double() * weight for one, weight in zip(forms, weights, strict=True))
    return Add(operations[0].shape, Dense(dense.float()))


def _alike(one: Found, wanted: float) -> edits.Edit:
    """The edit at the scale at which it changes images by that distance, to first order, where that is known."""
    value, norm = one.facts.get("eigenvalue"), one.facts.get("norm")
    if not isinstance(value, float) or not isinstance(norm, float) or value <= 0:
        return one.edit
    return scaled(one.edit, (wanted / value) ** 0.5 / norm)


def _dense(generator: Generator, answer: Answer, edit: edits.Edit) -> Tensor:
    before = answer.weight.clone()
    with edits.applied(generator.module, (edit, 1.0)):
        return answer.weight - before


def _trained(answer: Answer, changes: Tensor, options: Options, more: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Coefficients (K, m) of unit rows, and accuracies (K,) on seeds that were not trained on."""
    count, batch, steps = options.count, more["batch"], more["steps"]
    device = changes.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Reconstructor(count).to(device)
        mixes = nn.Parameter(torch.randn(count, len(changes)).to(device))
    optimiser = torch.optim.Adam([mixes, *network.parameters()], lr=more["rate"])
    path = None
    if more["cache"]:
        path = keep.place(ROOM, VERSION, {
            "method": "learned", "weights": keep.digest(state(answer.generator.module)), "layer": answer.layer.name,
            "changes": keep.digest({"changes": changes}), "count": count, "batch": batch, "rate": more["rate"],
            "truncation": answer.truncation, "noise": answer.noise, "device": device.type,
        })  # fmt: skip
    start = _resumed(path, mixes, network, optimiser, steps)
    step = start
    try:
        while step < steps:
            options.progress("learning directions", step, steps)
            one, other, which, far = _pairs(answer, changes, mixes, step, batch)
            named, length = network(one, other)
            loss = F.cross_entropy(named, which) + SHIFT_WEIGHT * (length - far).abs().mean()
            optimiser.zero_grad(set_to_none=False)
            loss.backward()
            optimiser.step()
            step += 1
            if path is not None and step % EVERY == 0:
                _save(path, mixes, network, optimiser, step)
    finally:
        if path is not None and step > start:
            _save(path, mixes, network, optimiser, step)
    options.progress("learning directions", steps, steps)
    right, seen = torch.zeros(count), torch.zeros(count)
    with torch.no_grad():
        for fresh in range(FRESH * max(1, count // batch + 1)):
            one, other, which, _ = _pairs(answer, changes, mixes, steps + fresh, batch)
            hit = network(one, other)[0].argmax(1) == which
            right.index_add_(0, which.cpu(), hit.float().cpu())
            seen.index_add_(0, which.cpu(), torch.ones(len(hit)))
    return _unit(mixes).detach().double().cpu(), right / seen.clamp(min=1)


def _pairs(
    answer: Answer, changes: Tensor, mixes: Tensor, step: int, batch: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images before and after, which direction moved each, and by how much; of a step's own seeds and draws."""
    drawn = torch.Generator().manual_seed(step)
    which = torch.randint(len(mixes), (batch,), generator=drawn).to(changes.device)
    far = (torch.rand(batch, generator=drawn) * 2 - 1) * FURTHEST
    far = (far.sign() * far.abs().clamp(min=NEAREST)).to(changes.device)
    flow = answer.flow(range(step * batch, (step + 1) * batch))
    weights = answer.weight + torch.einsum("n,nm,m...->n...", far, _unit(mixes)[which], changes)
    parts = {name: getattr(flow, name) for name in ("features", "image", "ws") if getattr(flow, name) is not None}
    # A constant that starts a network is one for all images.
    parts = {name: part.expand(batch, *part.shape[1:]) for name, part in parts.items()}

    def moved(weight: Tensor, own: dict[str, Tensor]) -> Tensor:
        return answer.images(weight, flow.to(**{name: part[None] for name, part in own.items()}))[0]

    with torch.no_grad():
        before = answer.images(answer.weight, flow)
    return before, vmap(moved)(weights, parts), which, far


def _unit(mixes: Tensor) -> Tensor:
    return mixes / mixes.norm(dim=1, keepdim=True)


def _save(path: Path, mixes: Tensor, network: Reconstructor, optimiser: torch.optim.Optimizer, step: int) -> None:
    kept = {"step": torch.tensor(step), "mixes": mixes, **{f"network.{n}": t for n, t in network.state_dict().items()}}
    for i, moments in optimiser.state_dict()["state"].items():
        kept |= {f"adam.{i}.{name}": value for name, value in moments.items()}
    keep.write(path, kept)


def _resumed(
    path: Path | None, mixes: Tensor, network: Reconstructor, optimiser: torch.optim.Optimizer, steps: int
) -> int:
    """Steps that were done already, with all put back as it was; 0 where nothing is kept, or more than is asked."""
    kept = None if path is None else keep.read(path)
    if kept is None or int(kept["step"]) > steps:
        return 0
    network.load_state_dict({n.removeprefix("network."): t for n, t in kept.items() if n.startswith("network.")})
    mixes.data.copy_(kept["mixes"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in kept.items():
        if name.startswith("adam."):
            _, i, what = name.split(".")
            moments.setdefault(int(i), {})[what] = tensor
    known = optimiser.state_dict()
    optimiser.load_state_dict({"state": moments, "param_groups": cast(Any, known["param_groups"])})
    return int(kept["step"])
