"""The interface of segmenters: images to one number a class and pixel, and the classes' names."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from edits.finite import finite
from rewrite.errors import RewriteError

BATCH = 64
"""Images labelled at once: logits are many times as large as the images."""


@runtime_checkable
class Segmenter(Protocol):
    """Anything that has `classes` and can be called; it is checked at each use, by `logits`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """K distinct names, in the order of the logits."""

    def __call__(self, images: Tensor, /) -> Tensor:
        """Logits (N, K, h, w) of images (N, 3, H, W) float in [-1, 1]: the largest is the pixel's class.

        h x w may be smaller or larger than H x W, and covers the same image.
        """


def class_names(segmenter: Segmenter) -> tuple[str, ...]:
    """The names of its classes; RewriteError unless they are a tuple of distinct ones."""
    classes: object = getattr(segmenter, "classes", None)
    named = isinstance(classes, tuple) and all(isinstance(name, str) and name for name in classes)
    if isinstance(classes, tuple) and classes and named and len(set(classes)) == len(classes):
        return classes
    raise RewriteError(
        f"{type(segmenter).__name__} has the classes {str(classes)[:80]}; expected a tuple of distinct names, one a "
        f"channel of its logits"
    )


def logits(segmenter: Segmenter, images: Tensor) -> Tensor:
    """Logits (N, K, H, W) float32 of images (N, 3, H, W), resized bilinearly where the segmenter's are of another size.

    Gradients flow to the images where the segmenter lets them. RewriteError if the images are none, or what the
    segmenter returns is not what its classes promise.
    """
    name, classes = type(segmenter).__name__, class_names(segmenter)
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise RewriteError(
            f"{name} was given images of shape {tuple(images.shape)} and type {_kind(images)}; expected "
            f"(N, 3, H, W) floats in [-1, 1]"
        )
    try:
        found = segmenter(images)
    except RewriteError:
        raise
    except Exception as error:
        raise RewriteError(
            f"{name} failed on images of shape {tuple(images.shape)}: {str(error) or type(error).__name__}; expected "
            f"it to take floats (N, 3, H, W) in [-1, 1] and return logits (N, K, h, w)"
        ) from error
    if not isinstance(found, Tensor) or found.ndim != 4:
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"type {type(found).__name__}"
        raise RewriteError(f"{name} returned {what}; expected a tensor of logits (N, K, h, w), so adapt it")
    if found.shape[:2] != (len(images), len(classes)):
        raise RewriteError(
            f"{name} returned {found.shape[1]} classes for {found.shape[0]} images; expected the {len(classes)} "
            f"that it names, for {len(images)}, so name each channel of its logits once, in order"
        )
    found = found.float()
    if not finite(found):
        raise RewriteError(
            f"{name} returned NaN or infinity; check that the images are finite and its weights undamaged"
        )
    if found.shape[2:] == images.shape[2:]:
        return found
    return F.interpolate(found, images.shape[2:], mode="bilinear", antialias=True)


@torch.no_grad()
def labels(segmenter: Segmenter, images: Tensor, *, batch: int = BATCH) -> Tensor:
    """Label maps (N, H, W) int64, indices of the segmenter's classes, of images (N, 3, H, W), `batch` at a time.

    Of equal logits the first counts. RewriteError as for `logits`.
    """
    return torch.cat([logits(segmenter, part).argmax(1) for part in images.split(batch)])


def _kind(images: Tensor) -> str:
    return str(images.dtype).removeprefix("torch.")
