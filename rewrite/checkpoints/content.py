"""What readers of containers find, before names are tidied and a network is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rewrite.checkpoints.strided import Strided


@dataclass
class Found:
    """A network, before its tensors are read."""

    views: dict[str, Strided] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """By name, what stands where a tensor should."""


@dataclass(frozen=True)
class Content:
    """A file."""

    container: str
    networks: dict[str, Found]
    facts: dict[str, Any] = field(default_factory=dict)
    why: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()
    code: tuple[str, ...] = ()


__all__ = ["Content", "Found"]
