"""Modules without their numbers, to be filled or to be asked for shapes: a size that lies costs nothing.

On torch's meta device normal numbers and products have no kernel of their own; asking for them imports the compiler,
which takes two seconds. What a module begins with is thrown away here, so that any other numbers will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

MADE: Mapping[Any, Callable[..., Tensor]] = {torch.randn: torch.rand, torch.eye: lambda size: torch.empty(size, size)}
"""What has a kernel there, for what has none."""
LEFT: set[Any] = {Tensor.normal_, nn.init.normal_}
"""What would only change numbers."""
SCALED: set[Any] = {Tensor.mul, Tensor.div, Tensor.__mul__, Tensor.__rmul__, Tensor.__truediv__}
"""What would only change numbers, if by a number."""


@contextmanager
def unfilled() -> Iterator[None]:
    """Tensors that are made in the block have a shape and a type, and no numbers."""
    with torch.device("meta"), _Undrawn():
        yield


def stored_shapes(kind: Callable[..., nn.Module], geometry: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of all tensors of a module of that geometry, by name."""
    with unfilled():
        return {name: tuple(tensor.shape) for name, tensor in kind(**geometry).state_dict().items()}


class _Undrawn(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        given = [*args, *(kwargs or {}).values()]
        if func in LEFT or (func in SCALED and isinstance(given[0], Tensor) and isinstance(given[1], int | float)):
            return given[0]
        return MADE.get(func, func)(*args, **(kwargs or {}))
