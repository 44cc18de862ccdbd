"""The state of the training: two networks, their optimisers, the averaged generator, counters.

The generator learns to paint the scene that belongs to a latent, first alone, then judged by a discriminator too. Which
scenes come next is told by the counters, so there is no random state to keep, and a run that was stopped goes on as if
it had not been.
"""

from __future__ import annotations

import copy
import io
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edits.file import write_atomically
from rewrite.errors import RewriteError
from rewrite.models.stylegan2 import StyleGAN2
from scenes import peers
from scenes.discriminator import GROUP, Discriminator
from scenes.likeness import unlikeness
from scenes.settings import Settings, Shape

BETA = 0.99
INERTIA = 0.9
"""First beta of Adam while the generator is alone; beside a discriminator it has none (Karras et al. 2020)."""
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
    """Scenes seen, over all stretches."""
    steps: int = 0
    minutes: float = 0.0
    """Of training, over all stretches."""

    @classmethod
    def begin(cls, shape: Shape, settings: Settings, device: str, mapping: nn.Module | None = None) -> Contest:
        """Untrained networks, always the same ones, but for a mapping that has had its lesson."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            G = StyleGAN2(resolution=64, channels=shape.channels, z=shape.z, w=shape.w, depth=shape.depth)
            D = Discriminator(shape.critic)
        if mapping is not None:
            G.mapping.load_state_dict(mapping.state_dict())
        # Features lie channels last: on a CPU the convolutions are about 1.4 times as fast.
        G, D = (network.to(device, memory_format=torch.channels_last) for network in (G, D))
        average = copy.deepcopy(G).eval().requires_grad_(False)
        # A step in `lazy` also serves R1: the optimiser's memory and rate are those of `lazy` + 1 steps (Karras et al.)
        share = settings.lazy / (settings.lazy + 1)
        return cls(
            shape, G, D, average,
            torch.optim.Adam([{"params": G.synthesis.parameters()}, {"params": G.mapping.parameters()}], settings.rate),
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

    def step(
        self, z: Tensor, scenes: Tensor, labels: Tensor, settings: Settings, *, half: bool = False
    ) -> dict[str, Tensor]:
        """Train on this process's share of a batch: latents (n, z), their scenes (n, 3, 64, 64) in [-1, 1] and labels.

        `half` is bfloat16 where it is safe. One pass of the generator serves both updates: the discriminator learns
        from its images, then judges them anew. Returns losses and mean verdicts, on the device.
        """
        factor = settings.rate_at(self.images, settings.progress(self.images, self.minutes))
        judged = self.images >= settings.alone
        for group, times in zip(self.G_adam.param_groups, (1.0, settings.mapping), strict=True):
            group.update(lr=settings.rate * factor * times, betas=(0.0 if judged else INERTIA, BETA))
        self.D_adam.param_groups[0]["lr"] = settings.rate * factor * settings.lazy / (settings.lazy + 1)
        cast = torch.autocast(scenes.device.type, torch.bfloat16, enabled=half)
        with cast:
            made = self.G(z, noise="none").float()
        figures = self._judge(made.detach(), scenes, settings, cast) if judged else {}
        apart = unlikeness(made, scenes, labels)
        loss = settings.pairs * apart
        if judged:
            self.D.requires_grad_(False)
            with cast:
                blame = _softplus(self.D(made), -1, settings)
            self.D.requires_grad_(True)
            loss = loss + settings.verdict(self.images) * blame
            figures["G_loss"] = blame.detach()
        self.G_adam.zero_grad(set_to_none=True)
        loss.backward()
        peers.average(self.G.parameters())
        self.G_adam.step()
        self.images += settings.batch
        self.steps += 1
        self._follow(settings)
        return {"unlikeness": apart.detach(), **figures}

    def _judge(self, made: Tensor, scenes: Tensor, settings: Settings, cast: torch.autocast) -> dict[str, Tensor]:
        """A step of the discriminator."""
        with cast:
            on_scenes, on_made = self.D(scenes), self.D(made)
            loss = _softplus(on_scenes, -1, settings) + _softplus(on_made, 1, settings)
        self.D_adam.zero_grad(set_to_none=True)
        loss.backward()
        if self.steps % settings.lazy == 0:
            _slope(self.D, scenes[: max(len(scenes) // 2 // GROUP, 1) * GROUP], settings).backward()
        peers.average(self.D.parameters())
        self.D_adam.step()
        return {
            "D_loss": loss.detach(), "real": on_scenes[0].detach().mean(), "fake": on_made[0].detach().mean(),
        }  # fmt: skip

    @torch.no_grad()
    def _follow(self, settings: Settings) -> None:
        half_life = min(settings.half_life, settings.ramp * self.images)
        share = 1 - 0.5 ** (settings.batch / half_life)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.G.parameters()), share)


def _softplus(logits: tuple[Tensor, Tensor], sign: int, settings: Settings) -> Tensor:
    """The logistic loss; a sign of -1 asks for high logits."""
    image, patches = (F.softplus(sign * verdict).mean() for verdict in logits)
    return image + settings.patches * patches


def _slope(D: Discriminator, scenes: Tensor, settings: Settings) -> Tensor:
    """R1."""
    scenes = scenes.detach().requires_grad_(True)
    image, patches = D(scenes)
    verdict = image.sum() + settings.patches * patches.mean((1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(verdict, scenes, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean() * (settings.gamma / 2 * settings.lazy)
