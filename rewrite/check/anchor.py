"""A harm that everybody knows, as the unit of harm: the same images as JPEG files of quality 95."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

QUALITY = 95


def jpeg(images: Tensor, quality: int = QUALITY) -> Tensor:
    """Images (N, 3, H, W) in [-1, 1] as a viewer of their JPEG files sees them."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    seen = []
    for one in pixels:
        stream = io.BytesIO()
        Image.fromarray(one).save(stream, "JPEG", quality=quality)
        seen.append(np.asarray(Image.open(stream)))
    return (torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).float() / 127.5 - 1).to(images.device)
