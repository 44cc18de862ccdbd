"""The memory layout in which convolutions on a CPU are fast, said so that changes mapped over by vmap may pass."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor


def channels_last(maps: Tensor) -> Tensor:
    """Maps (N, C, H, W), in memory (N, H, W, C); vmap refuses a memory format, and not a permutation."""
    return rearrange(rearrange(maps, "n c h w -> n h w c").contiguous(), "n h w c -> n c h w")
