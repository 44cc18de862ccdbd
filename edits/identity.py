"""Which weights was this made for?

A touched tensor is known by three SHA-256 digests: of its values cast directly to float32, float16 and
bfloat16. So the same weights are known again after they were stored at another precision, and nothing else is
taken for them. Types wider than float32 are known to float32 only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edits.canonical import tensor_bytes, text
from edits.errors import EditError, nearest

Match = Literal["exact", "cast", "different", "unknown"]
"""exact: the same values; cast: the same weights, stored at another precision; unknown: nothing recorded."""

EDITABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Digests:
    """SHA-256, in hexadecimal, of values cast directly to each precision (C order, little endian)."""

    float32: str
    float16: str
    bfloat16: str

    def __post_init__(self) -> None:
        for precision in _PRECISIONS:
            check_digest(getattr(self, precision), precision)

    def facts(self) -> dict[str, Any]:
        return {precision: getattr(self, precision) for precision in _PRECISIONS}


@dataclass(frozen=True)
class Known:
    """A touched tensor: its shape and digests."""

    shape: tuple[int, ...]
    digests: Digests

    def __post_init__(self) -> None:
        if not all(type(size) is int and size >= 0 for size in self.shape):
            raise EditError(f"a base records the shape {self.shape!r}; expected whole numbers")
        object.__setattr__(self, "shape", tuple(self.shape))

    def facts(self) -> dict[str, Any]:
        return {"shape": list(self.shape), **self.digests.facts()}


@dataclass(frozen=True)
class Upstream:
    """What the touched tensors depend on: sorted names, and digests over all names, shapes and values."""

    names: tuple[str, ...]
    digests: Digests

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        for name in self.names:
            check_name(name)
        if not self.names or list(self.names) != sorted(set(self.names)):
            raise EditError(
                "the upstream names of a base are empty, unsorted or repeated; expected sorted unique names"
            )

    def facts(self) -> dict[str, Any]:
        return {"names": list(self.names), **self.digests.facts()}


@dataclass(frozen=True)
class Base:
    """The weights that an edit is for. `touched` is by parameter name; `upstream` None if unrecorded."""

    architecture: str
    touched: Mapping[str, Known]
    upstream: Upstream | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.architecture, str):
            raise EditError(f"architecture is {self.architecture!r}; expected a string")
        object.__setattr__(self, "touched", dict(sorted(self.touched.items())))
        for name in self.touched:
            check_name(name)

    def facts(self) -> dict[str, Any]:
        """This base as JSON."""
        return {
            "architecture": self.architecture,
            "touched": {name: known.facts() for name, known in self.touched.items()},
            "upstream": self.upstream and self.upstream.facts(),
        }


@dataclass(frozen=True)
class Verdict:
    """How weights compare with a base: one match a touched tensor, and one for everything upstream."""

    touched: Mapping[str, Match]
    upstream: Match

    @property
    def different(self) -> tuple[str, ...]:
        """Names of touched tensors that are not the base's."""
        return tuple(name for name, match in self.touched.items() if match == "different")


def state(source: nn.Module | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The stored tensors of a module or a state dict by name; a module's own tensors, not copies."""
    named = source.state_dict(keep_vars=True) if isinstance(source, nn.Module) else source
    return {name: tensor for name, tensor in named.items() if isinstance(tensor, Tensor)}


def describe(
    source: nn.Module | Mapping[str, Tensor],
    touched: Iterable[str],
    upstream: Iterable[str] = (),
    architecture: str = "",
) -> Base:
    """The facts by which these weights are known again.

    `touched` are the parameters that an edit changes, `upstream` those that the edit's meaning depends on
    (touched ones are left out of it). Raises EditError for a name that is not there, naming the nearest, and
    for tensors without values.
    """
    tensors, names = state(source), sorted(set(touched))
    above = sorted(set(upstream) - set(names))
    known = {}
    for name in names:
        tensor = editable(tensors, name)
        known[name] = Known(tuple(tensor.shape), _digests(tensor))
    together = {precision: _together(tensors, above, dtype) for precision, dtype in _PRECISIONS.items()}
    return Base(architecture, known, Upstream(tuple(above), Digests(**together)) if above else None)


def compare(base: Base, source: nn.Module | Mapping[str, Tensor]) -> Verdict:
    """How these weights compare with a base.

    Raises EditError if a touched parameter is missing (naming the nearest), is no float tensor, or has
    another shape.
    """
    tensors = state(source)
    touched: dict[str, Match] = {}
    for name, known in base.touched.items():
        tensor = editable(tensors, name)
        if tuple(tensor.shape) != known.shape:
            raise EditError(
                f"{name} has shape {tuple(tensor.shape)}; expected {known.shape}; this edit was made for another model"
            )
        touched[name] = _match([tensor], known.digests, partial(digest, tensor))
    return Verdict(touched, _compare_upstream(base.upstream, tensors))


def merge(bases: Sequence[Base]) -> Base:
    """The base of several edits together: their touched tensors, upstream left to each of them.

    Raises EditError if two disagree on a tensor or on the architecture.
    """
    architectures = sorted({base.architecture for base in bases} - {""})
    if len(architectures) > 1:
        raise EditError(
            f"the edits were made for different architectures ({' and '.join(architectures)}); compose edits "
            f"of one model"
        )
    touched: dict[str, Known] = {}
    for base in bases:
        for name, known in base.touched.items():
            if touched.setdefault(name, known) != known:
                raise EditError(
                    f"the edits were made for different values of {name} (shapes {touched[name].shape} and "
                    f"{known.shape}); compose edits of one base, or make one of them again"
                )
    return Base(architectures[0] if architectures else "", touched)


def editable(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """The tensor of that name; EditError, naming the nearest, if there is none or it cannot be edited."""
    tensor = _present(tensors, name)
    if tensor.dtype not in EDITABLE or tensor.layout != torch.strided:
        raise EditError(
            f"{name} is a {tensor.layout} tensor of {tensor.dtype}; expected a strided one of float16, "
            f"bfloat16, float32 or float64; edit a model that is not quantised or sparse"
        )
    return tensor


def digest(tensor: Tensor, dtype: torch.dtype) -> str:
    """SHA-256, in hexadecimal, of the values cast directly to `dtype`."""
    return hashlib.sha256(tensor_bytes(_cast(tensor, dtype))).hexdigest()


def check_digest(value: object, what: str) -> None:
    """EditError unless `value` is 64 lower-case hexadecimal digits."""
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise EditError(f"{what} is {value!r}; expected a SHA-256 digest: 64 lower-case hexadecimal digits")


def check_name(name: object) -> None:
    """EditError unless `name` can be a parameter's name: printable text."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise EditError(f"{name!r} cannot be a parameter's name; expected printable text")


def _present(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise EditError(
            f"there is no parameter {name!r} here; nearest: {nearest(name, tensors)}; check the model and the name"
        )
    if tensors[name].device.type == "meta":
        raise EditError(f"{name} has no values yet (meta device); load the weights first")
    return tensors[name]


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    real = torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
    return real.cpu().to(dtype)


def _digests(tensor: Tensor) -> Digests:
    return Digests(**{precision: digest(tensor, dtype) for precision, dtype in _PRECISIONS.items()})


def _together(tensors: Mapping[str, Tensor], names: Iterable[str], dtype: torch.dtype) -> str:
    total = hashlib.sha256()
    for name in names:
        tensor = _present(tensors, name)
        total.update(text([name, list(tensor.shape)]) + b"\n")
        total.update(tensor_bytes(_cast(tensor, dtype)))
    return total.hexdigest()


def _compare_upstream(upstream: Upstream | None, tensors: Mapping[str, Tensor]) -> Match:
    if upstream is None:
        return "unknown"
    if not all(name in tensors for name in upstream.names):
        return "different"
    above = [tensors[name] for name in upstream.names]
    return _match(above, upstream.digests, partial(_together, tensors, upstream.names))


def _match(tensors: Sequence[Tensor], digests: Digests, of: Callable[[torch.dtype], str]) -> Match:
    if of(torch.float32) == digests.float32:
        return "exact"
    for precision in ("float16", "bfloat16"):
        dtype = _PRECISIONS[precision]
        # Rounding alone proves nothing: a small fine-tune rounds to the same values. Only weights that hold
        # nothing beyond this precision are the base's cast to it.
        are_rounded = all(_holds_no_more_than(tensor, dtype) for tensor in tensors)
        if are_rounded and of(dtype) == getattr(digests, precision):
            return "cast"
    return "different"


def _holds_no_more_than(tensor: Tensor, dtype: torch.dtype) -> bool:
    own = tensor.detach()
    return bool((own == own.to(dtype).to(own.dtype)).all())
