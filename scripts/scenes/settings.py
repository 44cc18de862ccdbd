"""What a training run is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Of the two networks; fixed for the life of a run."""

    channels: tuple[int, ...] = (128, 128, 128, 128, 32)
    """Of the generator at 4, 8, ... 64 px."""
    z: int = 128
    w: int = 256
    depth: int = 4
    """Layers of the mapping."""
    critic: tuple[int, ...] = (64, 96, 128, 128)
    """Widths of the discriminator at 32, 16, 8, 4 px."""


@dataclass(frozen=True)
class Settings:
    """Of the training; a later stretch may have others."""

    batch: int = 32
    rate: float = 0.002
    """Learning rate of both optimisers."""
    warm: int = 3_200
    """Images over which the rate rises from 0."""
    decay: float = 0.3
    """Share of the plan, at its end, over which the rate falls linearly to `least` of itself."""
    least: float = 0.05
    gamma: float = 0.04
    """Weight of R1, the squared gradient of the verdict on real images (Mescheder et al. 2018), at 64 px.

    Ten times as much leaves halos that no longer training removes; .04 is about what Karras et al. 2020 (ADA) would
    choose for this size and batch.
    """
    lazy: int = 16
    """R1 every so many steps, on half a batch, that much stronger."""
    patches: float = 0.5
    """Weight of the patches' verdict beside the image's."""
    alone: int = 200_000
    """Images until which there is no discriminator: the generator learns to paint the scene of each latent."""
    fade: int = 10_000
    """Images over which the discriminator's verdict comes in: it has to learn first."""
    pairs: float = 20.0
    """Weight of the likeness to the latent's own scene beside the discriminator's verdict.

    With 40 outlines stay soft; with 15 they ring after 30,000 images; with 5 the watermark goes.
    """
    mapping: float = 30.0
    """Learning rate of the mapping over that of the rest: its stored weights are 100 times as large as they act."""
    half_life: float = 10_000
    """Of the averaged weights, in images; shorter at the start."""
    ramp: float = 0.05
    """The half-life is at most this share of the images seen."""
    images: int | None = None
    """The plan: images from the start of the run, over all its stretches."""
    minutes: float | None = None
    """Or minutes of training, likewise."""

    def verdict(self, images: int) -> float:
        """The weight of the discriminator's verdict, 0 to 1."""
        return min(1.0, max(0.0, (images - self.alone) / self.fade))

    def progress(self, images: int, minutes: float) -> float:
        """Share of the plan that is done; 1 ends the run. Without a plan it never ends, and never decays."""
        shares = [images / self.images] if self.images else []
        return max([*shares, minutes / self.minutes] if self.minutes else shares, default=0.0)

    def rate_at(self, images: int, progress: float) -> float:
        """The factor on the learning rate."""
        falling = min(1.0, max(0.0, (1 - progress) / self.decay))
        return min(1.0, (images + self.batch) / self.warm) * (self.least + (1 - self.least) * falling)
