"""Several processes that train one network, each on its part of every batch: one a core, or one a GPU.

Under `python -m torch.distributed.run --nproc-per-node 2 ...` there are several; else all of this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")


def join() -> None:
    """Meet the other processes, if there are any."""
    if "WORLD_SIZE" in os.environ:
        distributed.init_process_group("gloo")


def leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """0 for the process that speaks and saves."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def part(batch: Tensor) -> Tensor:
    """This process's part of a batch."""
    return batch.chunk(count())[rank()]


def agree(*numbers: float) -> list[float]:
    """What the first process says."""
    if count() == 1:
        return list(numbers)
    said = torch.tensor(numbers, dtype=torch.float64)
    distributed.broadcast(said, 0)
    return said.tolist()


@torch.no_grad()
def average(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their mean over all processes."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= count()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view(gradient.shape))
