"""What a file of somebody else's holds, as plain values: networks of named tensors, and facts about them.

Readers of containers make it, and nothing in it can run; `rewrite.models` recognises families in it. Names are the
file's own, less a prefix that all of them shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where the numbers of a tensor lie in the file: those of a strided view, little endian."""

    offset: int
    """Bytes before element (0, ..., 0)."""
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """In elements; none is negative."""

    @property
    def span(self) -> int:
        """Elements from the first to the last, both included, with what lies between them."""
        last = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return 1 + last if all(self.shape) else 0

    @property
    def length(self) -> int:
        """Bytes from the first element to the last."""
        return self.span * self.dtype.itemsize


@dataclass(frozen=True)
class Network:
    """One network in a file."""

    tensors: Mapping[str, Tensor]
    """By name in the state dict: parameters and buffers. May be read from the file as they are asked for: keep what
    was got. They may share memory with the file's mapping, which is private: clone them to be free of the file."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON-like, and empty for a bare state dict. For a pickled module: `class` (its name), `origin` ("persistent",
    "module" or "tensorflow"), `source` (SHA-256 of its Python source, which is in `Foreign.facts["sources"]`),
    `init_args` (a list), `init_kwargs` (a dict), `attributes` (a dict of its plain ones: numbers, strings, lists,
    small arrays as lists), and `modules`: the same by path ("synthesis.b4.conv1") for the modules inside. Values come
    from the file, so may be of any type."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where tensors lie in the file, for those that can be written back."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Of all tensors, without reading them."""

    def __post_init__(self) -> None:
        if not self.shapes:
            object.__setattr__(self, "shapes", {name: tuple(t.shape) for name, t in self.tensors.items()})


@dataclass(frozen=True)
class Foreign:
    """The content of a file."""

    container: str
    """One of CONTAINERS."""
    networks: Mapping[str, Network]
    """By where they were found: "G_ema", "models.generator_smooth"; "" for a file that is one network."""
    chosen: str = ""
    """The one to use: the averaged generator where there are several, so a key of `networks`, unless it is empty."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON-like, of the file: what lies beside the networks (`training_set_kwargs`, `args`, `hyper_parameters`, ...),
    and `sources`: Python source by SHA-256, as text, never run."""
    why: Sequence[str] = ()
    """Findings, a sentence each: how the container was recognised, what was unwrapped, which network was chosen."""
    unexplained: Sequence[str] = ()
    """Classes and functions, "module.name", that the file names and nothing here knows: kept as inert records."""
    code: Sequence[str] = ()
    """What its usual loader would run, a phrase each; empty for a file that holds data alone."""

    @property
    def network(self) -> Network:
        """The chosen one; KeyError if the file holds none."""
        return self.networks[self.chosen]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Those of the chosen network."""
        return self.network.tensors


CONTAINERS = ("torch zip", "torch stream", "pickle", "safetensors", "OpenVINO IR", "numpy")


__all__ = ["CONTAINERS", "Foreign", "Network", "Place"]
