"""Which weights was this made for?

A touched tensor is known by three SHA-256 digests: of its values cast directly to float32, float16 and
bfloat16. So the same weights are known again after they were stored at another precision, and nothing else is
taken for them. Types wider than float32 are known to float32 only. What is not real floating point (counters,
masks, complex numbers) is not cast with a model, and is digested as it is.
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
    """What the touched tensors depend on: sorted names, and digests over all names, shapes and their digests."""

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


class Look:
    """One look at named tensors: each is digested once, however many bases it is compared with.

    They must not change while it is used.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self._digests: dict[tuple[str, torch.dtype], str] = {}

    def digest(self, name: str, dtype: torch.dtype) -> str:
        """SHA-256, in hexadecimal, of the values of a tensor cast directly to `dtype`."""
        if (name, dtype) not in self._digests:
            self._digests[name, dtype] = digest(self.present(name), dtype)
        return self._digests[name, dtype]

    def together(self, names: Iterable[str], dtype: torch.dtype) -> str:
        """SHA-256, in hexadecimal, over names, shapes and digests."""
        total = hashlib.sha256()
        for name in names:
            digested = self.digest(name, dtype)
            total.update(text([name, list(self.tensors[name].shape), digested]) + b"\n")
        return total.hexdigest()

    def present(self, name: str) -> Tensor:
        """The tensor of that name; EditError, naming the nearest, if there is none or it has no values."""
        if name not in self.tensors:
            raise EditError(
                f"there is no parameter {name!r} here; nearest: {nearest(name, self.tensors)}; check the model and "
                f"the name"
            )
        tensor = self.tensors[name]
        if tensor.device.type == "meta":
            raise EditError(f"{name} has no values yet (meta device); load the weights first")
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise EditError(
                f"{name} is a {tensor.layout} tensor of {tensor.dtype}, which no edit can be held against; expected a "
                f"strided one, not quantised; load the plain model"
            )
        return tensor

    def editable(self, name: str) -> Tensor:
        """The tensor of that name; EditError if it is not there, or no edit can change it."""
        tensor = self.present(name)
        if tensor.dtype not in EDITABLE:
            raise EditError(
                f"{name} is a tensor of {tensor.dtype}; expected float16, bfloat16, float32 or float64; edit a model "
                f"that is not quantised"
            )
        return tensor


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
    look, names = Look(state(source)), sorted(set(touched))
    above = sorted(set(upstream) - set(names))
    known = {name: Known(tuple(look.editable(name).shape), _digests(partial(look.digest, name))) for name in names}
    return Base(architecture, known, Upstream(tuple(above), _digests(partial(look.together, above))) if above else None)


def compare(base: Base, source: nn.Module | Mapping[str, Tensor] | Look) -> Verdict:
    """How these weights compare with a base. One `Look` at them serves several bases.

    Raises EditError if a touched parameter is missing (naming the nearest), is no float tensor, or has
    another shape.
    """
    look = source if isinstance(source, Look) else Look(state(source))
    touched: dict[str, Match] = {}
    for name, known in base.touched.items():
        shape = tuple(look.editable(name).shape)
        if shape != known.shape:
            raise EditError(f"{name} has shape {shape}; expected {known.shape}; this edit was made for another model")
        touched[name] = _match(look, [name], known.digests, partial(look.digest, name))
    return Verdict(touched, _compare_upstream(base.upstream, look))


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


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """What a model's own cast to `dtype` makes of a tensor: `Module.half` leaves counters and complex numbers be."""
    own = tensor.detach().cpu()
    if own.is_complex():
        return torch.view_as_real(own.resolve_conj())
    return own.to(dtype) if own.is_floating_point() else own.to(torch.int64)


def _digests(of: Callable[[torch.dtype], str]) -> Digests:
    return Digests(**{precision: of(dtype) for precision, dtype in _PRECISIONS.items()})


def _compare_upstream(upstream: Upstream | None, look: Look) -> Match:
    if upstream is None:
        return "unknown"
    if not all(name in look.tensors for name in upstream.names):
        return "different"
    return _match(look, upstream.names, upstream.digests, partial(look.together, upstream.names))


def _match(look: Look, names: Sequence[str], digests: Digests, of: Callable[[torch.dtype], str]) -> Match:
    if of(torch.float32) == digests.float32:
        return "exact"
    for precision in ("float16", "bfloat16"):
        dtype = _PRECISIONS[precision]
        # Rounding alone proves nothing: a small fine-tune rounds to the same values. Only weights that hold
        # nothing beyond this precision are the base's cast to it.
        are_rounded = all(_holds_no_more_than(look.tensors[name], dtype) for name in names)
        if are_rounded and of(dtype) == getattr(digests, precision):
            return "cast"
    return "different"


def _holds_no_more_than(tensor: Tensor, dtype: torch.dtype) -> bool:
    own = tensor.detach()
    return not own.is_floating_point() or bool((own == own.to(dtype).to(own.dtype)).all())
