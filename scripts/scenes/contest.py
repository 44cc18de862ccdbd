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
from scenes.discriminator import Discriminator, hinge
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
        return cls(
            shape, G, D, average,
            torch.optim.Adam(G.parameters(), settings.rate, (0.0, BETA)),
            torch.optim.Adam(D.heads.parameters(), settings.rate, (0.0, BETA)),
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
        for adam in (self.G_adam, self.D_adam):
            adam.param_groups[0]["lr"] = settings.rate * factor
        resolution, share = settings.band(self.images)
        cast = torch.autocast(real.device.type, torch.bfloat16, enabled=half)
        with cast, torch.no_grad():
            seen = self.D.project(blurred(real, resolution, share))
        with cast:
            z = peers.part(self.latents(settings.batch)).to(real.device)
            drawn = self.D.project(sampled(self.G, z, resolution, share))
            on_real, on_fake = self.D.judge(seen), self.D.judge([x.detach() for x in drawn])
            D_loss = hinge(on_real, on_fake)
        self.D_adam.zero_grad(set_to_none=True)
        D_loss.backward()
        peers.average(self.D.heads.parameters())
        self.D_adam.step()
        self.D.heads.requires_grad_(False)
        with cast:
            G_loss = -torch.stack([verdict.mean() for verdict in self.D.judge(drawn)]).sum()
        self.G_adam.zero_grad(set_to_none=True)
        G_loss.backward()
        self.D.heads.requires_grad_(True)
        peers.average(self.G.parameters())
        self.G_adam.step()
        self.images += settings.batch
        self.steps += 1
        self._follow(settings)
        return {
            "D_loss": D_loss.detach(), "G_loss": G_loss.detach(),
            "real": torch.stack([verdict.detach().mean() for verdict in on_real]).mean(),
            "fake": torch.stack([verdict.detach().mean() for verdict in on_fake]).mean(),
        }  # fmt: skip

    @torch.no_grad()
    def _follow(self, settings: Settings) -> None:
        half_life = min(settings.half_life, settings.ramp * self.images)
        share = 1 - 0.5 ** (settings.batch / half_life)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.G.parameters()), share)


def sampled(G: StyleGAN2, z: Tensor, resolution: int, share: float = 1.0) -> Tensor:
    """Samples with nothing finer than `resolution`, of whose own scale there is a `share`, shown at 64 px."""
    flow = Flow(None, None, G.map(z), "none")
    blocks = resolution.bit_length() - 2
    for stage in G.stages[: 3 * blocks - 1]:
        before, flow = flow, stage(flow)
    assert flow.image is not None
    image = flow.image
    if share < 1 and before.image is not None:
        image = torch.lerp(double(before.image), image, share)
    return _doubled(image)


def blurred(images: Tensor, resolution: int, share: float = 1.0) -> Tensor:
    """Images (N, 3, 64, 64) with as much detail as samples of that resolution and share have."""
    if resolution == 64 and share == 1:
        return images
    fine, coarse = (_doubled(F.avg_pool2d(images, 64 // size)) for size in (resolution, resolution // 2))
    return torch.lerp(coarse, fine, share)


def _doubled(image: Tensor) -> Tensor:
    while image.shape[-1] < 64:
        image = double(image)
    return image
