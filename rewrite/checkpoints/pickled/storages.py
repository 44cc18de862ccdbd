"""Storages of torch as pickles point at them: a type by name, a key, a number of elements."""

from __future__ import annotations

import torch

from rewrite.checkpoints.pickled.values import Name, Value
from rewrite.checkpoints.strided import Storage
from rewrite.errors import RewriteError

TYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}  # fmt: skip
HOMES = ("torch", "torch.cuda", "torch.storage")
COUNT_LIMIT = 2**48


class Storages:
    """Those that one pickle points at, by key; `fill` says where their bytes lie, once that is known."""

    def __init__(self) -> None:
        self._found: dict[str, dict[tuple[torch.dtype, int], Storage]] = {}
        self.sources: dict[str, str] = {}
        """Python source of classes that torch put beside them, by class; text."""

    def __call__(self, identifier: Value) -> Value:
        """What a persistent identifier stands for."""
        match identifier:
            case ("storage", Name() as kind, str(key), str() | None, int(count)) | (
                "storage",
                Name() as kind,
                str(key),
                str() | None,
                int(count),
                None,
            ) if 0 <= count < COUNT_LIMIT:
                if kind.module not in HOMES or kind.name not in TYPES:
                    raise RewriteError(f"its pickle has a storage of type {kind}, which is none of torch")
                wanted = TYPES[kind.name], count
                return self._found.setdefault(key, {}).setdefault(wanted, Storage(*wanted))
            case ("module", Name() as kind, _, source):
                if type(source) is str:
                    self.sources[str(kind)] = source
                return kind
        raise RewriteError("its pickle points at data in a way that torch does not")

    @property
    def keys(self) -> set[str]:
        return set(self._found)

    def of(self, key: str) -> list[Storage]:
        """The storages of that key: several, if it was written under several types."""
        return list(self._found[key].values())


__all__ = ["Storages"]
