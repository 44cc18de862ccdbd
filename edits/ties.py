"""Tied tensors: several names, one storage, one tensor."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from edits.errors import EditError


def groups(tensors: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """Every name with all names of the same tensor, its own among them, in the order of the mapping."""
    same: dict[Hashable, list[str]] = {}
    for name, tensor in tensors.items():
        same.setdefault(_place(tensor), []).append(name)
    return {name: tuple(names) for names in same.values() for name in names}


def check_alone(name: str, tensors: Mapping[str, Tensor], tied: tuple[str, ...]) -> None:
    """EditError if writing this tensor would write part of another, or one of its own elements twice."""
    tensor = tensors[name]
    if any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)):
        raise EditError(
            f"the elements of {name} share memory (it is expanded); expected a tensor of its own; clone it first"
        )
    first, last = _span(tensor)
    for other, candidate in tensors.items():
        if other in tied or not _shares_storage(tensor, candidate):
            continue
        start, end = _span(candidate)
        if start <= last and first <= end:
            raise EditError(
                f"{name} and {other} share part of their memory, so that one cannot be edited without the "
                f"other; expected separate or wholly tied tensors; clone one of them first"
            )


def check_own(module: nn.Module, tensors: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """EditError if a tensor of the module's state dict is a copy, so that writing to it would change nothing."""
    own = {_address(tensor) for tensor in chain(module.parameters(), module.buffers())}
    for name in names:
        if tensors[name].numel() and _address(tensors[name]) not in own:
            raise EditError(
                f"the module's state dict gives {name} as a copy, and editing that would change nothing; expected the "
                f"tensor itself; edit the part of the module that holds it"
            )


def _place(tensor: Tensor) -> Hashable:
    if not tensor.numel() or not _address(tensor):
        return id(tensor)
    return (
        _address(tensor),
        tensor.device,
        tensor.storage_offset(),
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
    )


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else 0


def _shares_storage(one: Tensor, other: Tensor) -> bool:
    return bool(other.numel()) and 0 != _address(one) == _address(other) and one.device == other.device


def _span(tensor: Tensor) -> tuple[int, int]:
    """First and last byte, counted in the storage."""
    size = tensor.element_size()
    first = int(tensor.storage_offset()) * size
    reach = sum((count - 1) * stride for count, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + reach * size + size - 1
