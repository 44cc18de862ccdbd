"""The state of an adversarial training: two networks, their optimisers, the averaged generator, counters.

Latents and the order of the data come from the counters, so there is no random state to keep, and a run that
was stopped goes on as if it had not been.
"""

from __future__ import annotations

import copy
import io
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from edits.file import write_atomically
from rewrite.errors import RewriteError
from rewrite.generator import Flow
from rewrite.models.stylegan2 import StyleGAN2, double
from scenes import peers
from scenes.discriminator import GROUP, Discriminator
from scenes.settings import Settings, Shape

BETA = 0.99
SEED = 0


@dataclass
class Contest:
    """Everything that a checkpoint holds."""

    shape: Shape
    G: StyleGAN2
    D: Discriminator
    average: StyleGAN2
    """The generator's weights, averaged over the last images: what is shown and exported."""
    G_adam: torch.optim.Adam
    D_adam: torch.optim.Adam
    images: int = 0
    """Real images seen, over all stretches."""
    steps: int = 0
    minutes: float = 0.0
    """Of training, over all stretches."""

    @classmethod
    def begin(cls, shape: Shape, settings: Settings, device: str) -> Contest:
        """Untrained networks, always the same ones."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            G = StyleGAN2(resolution=64, channels=shape.channels, z=shape.z, w=shape.w, depth=shape.depth)
            D = Discriminator(shape.critic)
        # Features lie channels last: on a CPU the convolutions are about 1.4 times as fast.
        G, D = (network.to(device, memory_format=torch.channels_last) for network in (G, D))
        average = copy.deepcopy(G).eval().requires_grad_(False)
        # A step in `lazy` also serves R1: the optimiser's memory and rate are those of `lazy` + 1 steps (Karras et al.)
        share = settings.lazy / (settings.lazy + 1)
        return cls(
            shape, G, D, average,
            torch.optim.Adam(G.parameters(), settings.rate, (0.0, BETA)),
            torch.optim.Adam(D.parameters(), settings.rate * share, (0.0, BETA**share)),
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write beside `path` and rename, so that no stop can lose both the old checkpoint and the new."""
        stream = io.BytesIO()
        parts = {name: getattr(self, name).state_dict() for name in ("G", "D", "average", "G_adam", "D_adam")}
        counters = {name: getattr(self, name) for name in ("images", "steps", "minutes")}
        torch.save({"shape": asdict(self.shape), **counters, **parts}, stream)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, stream.getvalue())

    @classmethod
    def resume(cls, path: Path, settings: Settings, device: str, shape: Shape | None = None) -> Contest:
        """The state that `save` wrote; RewriteError if its networks are not of the `shape` asked for."""
        stored = torch.load(path, map_location=device, weights_only=True)
        found = Shape(**stored["shape"])
        if shape not in (None, found):
            raise RewriteError(f"{path} is a run of {found}, and {shape} was asked for; give another folder")
        contest = cls.begin(found, settings, device)
        for name in ("G", "D", "average", "G_adam", "D_adam"):
            getattr(contest, name).load_state_dict(stored[name])
        contest.images, contest.steps, contest.minutes = stored["images"], stored["steps"], stored["minutes"]
        return contest

    def latents(self, count: int) -> Tensor:
        """The latents (count, z) of the next step."""
        source = torch.Generator().manual_seed(SEED + 1 + self.steps)
        return torch.randn(count, self.shape.z, generator=source)

    def step(self, real: Tensor, settings: Settings, *, half: bool = False) -> dict[str, Tensor]:
        """Train on this process's share of a batch, (n, 3, 64, 64) in [-1, 1]; `half` is bfloat16 where it is safe.

        One pass of the generator serves both updates: the discriminator learns from its samples, then judges them
        anew. Returns losses and mean verdicts, on the device.
        """
        factor = settings.rate_at(self.images, settings.progress(self.images, self.minutes))
        self.G_adam.param_groups[0]["lr"] = settings.rate * factor
        self.D_adam.param_groups[0]["lr"] = settings.rate * factor * settings.lazy / (settings.lazy + 1)
        resolution, share = settings.band(self.images)
        real = blurred(real, resolution, share)
        cast = torch.autocast(real.device.type, torch.bfloat16, enabled=half)
        with cast:
            z = peers.part(self.latents(settings.batch)).to(real.device)
            fake = sampled(self.G, z, resolution, share).float()
            on_real, on_fake = self.D(real, share), self.D(fake.detach(), share)
            D_loss = _softplus(on_real, -1, settings) + _softplus(on_fake, 1, settings)
        self.D_adam.zero_grad(set_to_none=True)
        D_loss.backward()
        if self.steps % settings.lazy == 0:
            _slope(self.D, real[: max(len(real) // 2 // GROUP, 1) * GROUP], share, settings).backward()
        peers.average(self.D.parameters())
        self.D_adam.step()
        self.D.requires_grad_(False)
        with cast:
            G_loss = _softplus(self.D(fake, share), -1, settings)
        self.G_adam.zero_grad(set_to_none=True)
        G_loss.backward()
        self.D.requires_grad_(True)
        peers.average(self.G.parameters())
        self.G_adam.step()
        self.images += settings.batch
        self.steps += 1
        self._follow(settings)
        return {
            "D_loss": D_loss.detach(), "G_loss": G_loss.detach(),
            "real": on_real[0].detach().mean(), "fake": on_fake[0].detach().mean(),
        }  # fmt: skip

    @torch.no_grad()
    def _follow(self, settings: Settings) -> None:
        half_life = min(settings.half_life, settings.ramp * self.images)
        share = 1 - 0.5 ** (settings.batch / half_life)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.G.parameters()), share)


def sampled(G: StyleGAN2, z: Tensor, resolution: int, share: float = 1.0) -> Tensor:
    """Samples (N, 3, R, R) of a resolution R, with a `share` of the detail that is its own."""
    flow = Flow(None, None, G.map(z), "none")
    before = flow
    for stage in G.stages[: 3 * (resolution.bit_length() - 2) - 1]:
        before, flow = flow, stage(flow)
    assert flow.image is not None
    if share == 1 or before.image is None:
        return flow.image
    return torch.lerp(double(before.image), flow.image, share)


def blurred(images: Tensor, resolution: int, share: float = 1.0) -> Tensor:
    """Images (N, 3, 64, 64) at that resolution, with as much detail as samples of that share have."""
    fine = F.avg_pool2d(images, images.shape[-1] // resolution)
    return fine if share == 1 else torch.lerp(double(F.avg_pool2d(fine, 2)), fine, share)


def _softplus(logits: tuple[Tensor, Tensor], sign: int, settings: Settings) -> Tensor:
    """The logistic loss; a sign of -1 asks for high logits."""
    image, patches = (F.softplus(sign * verdict).mean() for verdict in logits)
    return image + settings.patches * patches


def _slope(D: Discriminator, real: Tensor, share: float, settings: Settings) -> Tensor:
    """R1. A pixel of low resolution moves all the pixels it stands for, so its gradient is that much larger."""
    real = real.detach().requires_grad_(True)
    image, patches = D(real, share)
    verdict = image.sum() + settings.patches * patches.mean((1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(verdict, real, create_graph=True)
    weight = settings.gamma * (real.shape[-1] / 64) ** 2
    return gradient.square().sum((1, 2, 3)).mean() * (weight / 2 * settings.lazy)
