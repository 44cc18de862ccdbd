"""Foreign names: which network of ours a file's tensors make up, and how their numbers become ours and go back.

Families explain files: `explain(network, beside)` gives a `Layout`, or None for the tensors of another family. It
raises RewriteError for a file of the family that cannot be a network of ours, and says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from rewrite.checkpoints.foreign import Network
from rewrite.errors import RewriteError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Key:
    """Where one of our tensors lies in the file: under which name, and what happens to its numbers on the way."""

    name: str
    ours: Callable[[Tensor], Tensor]
    """From the file's tensor to ours."""
    theirs: Callable[[Tensor], Tensor]
    """Back; RewriteError, with the reason, for numbers that the file's format cannot hold."""
    also: Callable[[Tensor], Mapping[str, Tensor]] | None = None
    """Other tensors of the file, by name, that must follow one of ours."""


@dataclass(frozen=True)
class Layout:
    """A file, explained."""

    family: str
    """Of `rewrite.models.FAMILIES`."""
    why: str
    """What it was recognised by, a phrase."""
    geometry: Mapping[str, Any]
    keys: Mapping[str, Key]
    """By the name that the tensor has with us."""
    given: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors of ours that the file lacks."""
    constants: Collection[str] = ()
    """Names in the file that say nothing of their own: filters that are always the same, traces of training."""
    notes: Sequence[str] = ()
    """What a user should know of what was assumed, a sentence each."""
    derived: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None
    """Tensors of ours that are computed from the others."""

    def unexplained(self, names: Collection[str]) -> list[str]:
        """Those names in the file that nothing here has a use for."""
        used = {key.name for key in self.keys.values()} | set(self.constants)
        return sorted(set(names) - used)

    def state(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors, float32 and contiguous; those that need no change share the file's memory."""
        read = {name: key.ours(tensors[key.name].float()).contiguous() for name, key in self.keys.items()}
        state = {**self.given, **read}
        return state if self.derived is None else {**state, **self.derived(state)}

    def theirs(self, changed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of ours as the file would hold them, by the file's names.

        RewriteError if it has no place for one, or none for its numbers.
        """
        if missing := sorted(set(changed) - set(self.keys)):
            raise RewriteError(
                f"the file has no place for {missing[0]}; expected a change of tensors that came from it, so save as "
                f"safetensors instead"
            )
        written: dict[str, Tensor] = {}
        for name, tensor in changed.items():
            key = self.keys[name]
            written |= {key.name: key.theirs(tensor), **(key.also(tensor) if key.also else {})}
        return written


class Explain(Protocol):
    """Which network of ours a file's network is, if it is of the family. `beside` is what the file holds around it."""

    def __call__(self, network: Network, beside: Mapping[str, Any]) -> Layout | None: ...


def same(name: str) -> Key:
    """The very numbers."""
    return Key(name, lambda t: t, lambda t: t)


def reshaped(name: str, ours: Shape, theirs: Shape) -> Key:
    """The same numbers in another shape."""
    return Key(name, lambda t: t.reshape(ours), lambda t: t.reshape(theirs))


def flipped(name: str) -> Key:
    """Kernels turned by half a turn."""
    return Key(name, lambda t: t.flip(-2, -1), lambda t: t.flip(-2, -1).contiguous())


def shifted(name: str, by: float) -> Key:
    """Ours are larger by a constant that their code adds on every pass."""
    return Key(name, lambda t: t + by, lambda t: t - by)


def spread(name: str, channels: int, theirs: Shape) -> Key:
    """One number of theirs for all channels of ours."""

    def back(t: Tensor) -> Tensor:
        if not (t == t[0]).all():
            raise RewriteError(
                f"{name} is one number for all channels, and the edit gives each channel its own; save as safetensors "
                f"instead"
            )
        return t[0].reshape(theirs)

    return Key(name, lambda t: t.reshape(1).expand(channels), back)


def fitting(name: str, ours: Shape, theirs: Shape) -> Key:
    """The same numbers, whatever axes of size 1 lie around them; one number for all channels, where it is one."""
    if ours == theirs:
        return same(name)
    if theirs in ((), (1,)) and len(ours) == 1:
        return spread(name, ours[0], theirs)
    if [n for n in ours if n != 1] != [n for n in theirs if n != 1]:
        raise RewriteError(f"{name} has shape {theirs}; expected {ours}, so this is another network than its names say")
    return reshaped(name, ours, theirs)


def shape_of(network: Network, name: str) -> Shape:
    """RewriteError if the file lacks it."""
    if name not in network.shapes:
        raise RewriteError(
            f"the file lacks {name}, without which the network cannot be rebuilt; get a fresh copy of it"
        )
    return tuple(network.shapes[name])


def counted(network: Network, pattern: str) -> int:
    """One more than the highest number that a name has in place of {} in the pattern; 0 if there is no such name.

    So a network of which some is missing is not taken for a smaller one.
    """
    numbers = re.compile(re.escape(pattern).replace(r"\{\}", r"(\d{1,4})"))
    found = (numbers.fullmatch(name) for name in network.shapes)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def check_constant(network: Network, name: str, expected: Tensor) -> None:
    """RewriteError unless the file's tensor, axes of size 1 aside, is this one."""
    found = network.tensors[name].float().squeeze()
    if found.shape != expected.squeeze().shape or not torch.allclose(found, expected.squeeze(), atol=1e-5):
        raise RewriteError(
            f"{name} is another filter than the usual one, which is built in here; expected {expected.flatten()[:4]}"
        )


__all__ = [
    "Explain",
    "Key",
    "Layout",
    "check_constant",
    "counted",
    "fitting",
    "flipped",
    "reshaped",
    "same",
    "shape_of",
    "shifted",
    "spread",
]
