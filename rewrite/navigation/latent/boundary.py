"""Linear boundaries between codes of high and of low score."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewrite.errors import RewriteError

HELD_OUT = 0.3
PENALTY = 10.0


@dataclass(frozen=True)
class Boundary:
    """normal . x = -intercept, the normal (d,) of unit length; high scores lie on its side."""

    normal: Tensor
    intercept: float
    confident: float
    """Share of held-out codes of extreme score that lie on their side."""
    overall: float
    """The same of all codes, cut at the middle between the extremes."""

    def distance(self, codes: Tensor) -> Tensor:
        """Signed distances (N,) of codes (N, d)."""
        return codes @ self.normal + self.intercept


def boundary(codes: Tensor, scores: Tensor, *, share: float = 0.2) -> Boundary:
    """Between the codes (N, d) of the `share` of highest scores (N,) and those of the lowest (Shen et al. 2020,
    "InterFaceGAN", section 3.1). RewriteError where scores do not vary, or there are too few.
    """
    count = int(len(codes) * share)
    if not 0 < share <= 0.5 or count < 8:
        raise RewriteError(f"share {share:g} of {len(codes)} codes is {count}; expected at least 8, and 0.5 at most")
    order = torch.argsort(scores, stable=True)
    low, high = order[:count], order[-count:]
    least, most = float(scores[low].max()), float(scores[high].min())
    if not least < most:
        raise RewriteError(
            f"the lowest and highest {count} scores meet at {least:g}, so they tell nothing apart; give more samples, "
            f"a smaller share, or scores that vary"
        )
    # Every third pair or so is held out; the order within the extremes has nothing to do with the codes' names.
    turn = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    kept = round(count * (1 - HELD_OUT))
    chosen = torch.cat([low[turn[:kept]], high[turn[:kept]]])
    held = torch.cat([low[turn[kept:]], high[turn[kept:]]])
    side = torch.cat([-torch.ones(kept), torch.ones(kept)]).double()
    normal, intercept = separate(codes[chosen].double(), side)
    found = Boundary(normal, intercept, 0.0, 0.0)
    truth = torch.cat([-torch.ones(count - kept), torch.ones(count - kept)])
    confident = float((found.distance(codes[held]).sign() == truth).double().mean())
    overall = (found.distance(codes) > 0) == (scores > (least + most) / 2)
    return Boundary(normal, intercept, confident, float(overall.double().mean()))


def separate(codes: Tensor, side: Tensor, penalty: float = PENALTY) -> tuple[Tensor, float]:
    """Unit normal (d,) and intercept of the linear support vector machine of codes (N, d) and sides (N,), -1 or 1.

    Squared hinge, mean over codes times `penalty`, plus half the squared norm; codes are centred and scaled first.
    """
    mean, scale = codes.mean(0), codes.std().clamp(min=1e-12)
    inputs = (codes - mean) / scale
    weights = torch.zeros(codes.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        margin = side * (inputs @ weights[:-1] + weights[-1])
        value = penalty * (1 - margin).clamp(min=0).square().mean() + 0.5 * weights[:-1].square().sum()
        value.backward()
        return value

    solver.step(loss)
    found = weights.detach()
    normal, offset = found[:-1] / scale, found[-1] - (found[:-1] / scale) @ mean
    length = normal.norm()
    if not float(length) > 0:
        raise RewriteError("no boundary tells these codes apart; give more samples, or other scores")
    return normal / length, float(offset / length)


def conditioned(normal: Tensor, conditions: Tensor) -> Tensor:
    """The unit normal (d,) without what it shares with the span of `conditions` (k, d): InterFaceGAN, equation 5.

    RewriteError where nothing is left of it.
    """
    basis = torch.linalg.qr(conditions.double().T).Q
    left = normal.double() - basis @ (basis.T @ normal.double())
    if float(left.norm()) < 1e-6 * float(normal.norm()):
        raise RewriteError("the direction lies within its conditions, so nothing is left of it; leave a condition out")
    return left / left.norm()
