"""What is done to images before a network looks at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from edits.finite import finite
from rewrite.errors import RewriteError


def checked(images: Tensor) -> Tensor:
    """The images; RewriteError unless they are (N, 3, H, W), of floating point and finite."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise RewriteError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; expected floats (N, 3, H, W) in [-1, 1]"
        )
    if not finite(images):
        raise RewriteError("images hold infinite values or none at all; look at what made them")
    return images


def rounded(images: Tensor) -> Tensor:
    """Images at the 256 levels that a file would hold, as a viewer sees them; [-1, 1]."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def bicubic(images: Tensor, side: int) -> Tensor:
    """Resized to side x side with antialiasing, without rounding (Parmar et al. 2022, "On Aliased Resizing")."""
    resized = F.interpolate(images, (side, side), mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(-1, 1)


def tensorflow(images: Tensor, side: int) -> Tensor:
    """As TensorFlow 1 resizes bilinearly, corners unaligned and no antialiasing: what published FIDs were made with."""
    for axis in (3, 2):
        length = images.shape[axis]
        place = torch.arange(side, dtype=torch.float32, device=images.device) * (length / side)
        before = place.long()
        after = (before + 1).clamp(max=length - 1)
        share = (place - before).view(-1, *[1] * (3 - axis))
        low, high = images.index_select(axis, before), images.index_select(axis, after)
        images = low + (high - low) * share
    return images


INTERPOLATIONS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "bicubic, antialiased": bicubic,
    "bilinear of TensorFlow 1": tensorflow,
}
