"""Whether all numbers are numbers: asked of every weight that is read and every image that is looked at."""

from __future__ import annotations

import torch
from torch import Tensor


def finite(tensor: Tensor) -> bool:
    """Whether a real tensor holds no NaN and no infinity.

    Of the least and the greatest, which are NaN if any number is: a tenth of the time of asking each one.
    """
    return not tensor.numel() or bool(torch.stack(tensor.aminmax()).isfinite().all())
