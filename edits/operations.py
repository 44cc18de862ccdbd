"""What can be done to one tensor: add, scale, set. Immutable, and checked when made.

Tensors are copied in and belong to the operation: nobody writes to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from edits.errors import EditError
from edits.finite import finite

AXES_LIMIT = 16
Side = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class LowRank:
    """dW = left @ right, folded back into the tensor.

    `left` (L, rank) and `right` (rank, R) are float32; `left_axes` and `right_axes` name the axes of the
    stored tensor on each side, together all of its axes. dW is left @ right reshaped to the sizes of
    left_axes then right_axes, and permuted back.
    """

    name: ClassVar[str] = "low-rank"
    left: Tensor
    right: Tensor
    left_axes: tuple[int, ...]
    right_axes: tuple[int, ...]

    def __post_init__(self) -> None:
        _fix(self, left=_floats(self.left, "left"), right=_floats(self.right, "right"))
        _fix(
            self,
            left_axes=_whole(self.left_axes, "left_axes"),
            right_axes=_whole(self.right_axes, "right_axes"),
        )

    @property
    def rank(self) -> int | None:
        return self.left.shape[1]

    @property
    def norm(self) -> float:
        """Frobenius norm of dW, from two small triangles and never from dW itself."""
        left = torch.linalg.qr(self.left.double(), mode="r").R
        right = torch.linalg.qr(self.right.double().T, mode="r").R
        return float(torch.linalg.norm(left @ right.T))

    def tensors(self) -> dict[str, Tensor]:
        return {"left": self.left, "right": self.right}

    def facts(self) -> dict[str, Any]:
        return {"left_axes": list(self.left_axes), "right_axes": list(self.right_axes)}

    def fit(self, shape: tuple[int, ...]) -> None:
        if sorted(self.left_axes + self.right_axes) != list(range(len(shape))):
            raise EditError(
                f"left_axes {self.left_axes} and right_axes {self.right_axes} do not name each axis of a "
                f"tensor of shape {shape} once; expected a permutation of 0 to {len(shape) - 1} split in two"
            )
        rows, columns = (math.prod(shape[a] for a in axes) for axes in (self.left_axes, self.right_axes))
        rank = self.left.shape[-1] if self.left.ndim else 0
        _expect(self.left, (rows, rank), f"left of a change to shape {shape}")
        _expect(self.right, (rank, columns), f"right of a change to shape {shape}")


@dataclass(frozen=True, eq=False)
class Dense:
    """dW itself: float32, of the tensor's shape."""

    name: ClassVar[str] = "dense"
    dense: Tensor

    def __post_init__(self) -> None:
        _fix(self, dense=_floats(self.dense, "dense"))

    @property
    def rank(self) -> int | None:
        return None

    @property
    def norm(self) -> float:
        """Frobenius norm of dW."""
        return float(torch.linalg.norm(self.dense.double()))

    def tensors(self) -> dict[str, Tensor]:
        return {"dense": self.dense}

    def facts(self) -> dict[str, Any]:
        return {}

    def fit(self, shape: tuple[int, ...]) -> None:
        _expect(self.dense, shape, "dense")


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices along `axis`: `index` (n) sorted unique int64, `values` float32 with n entries on that axis."""

    name: ClassVar[str] = "slices"
    axis: int
    index: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        _fix(self, index=_positions(self.index), values=_floats(self.values, "values"))

    @property
    def rank(self) -> int | None:
        return None

    @property
    def norm(self) -> float:
        """Frobenius norm of the values."""
        return float(torch.linalg.norm(self.values.double()))

    def tensors(self) -> dict[str, Tensor]:
        return {"index": self.index, "values": self.values}

    def facts(self) -> dict[str, Any]:
        return {"axis": self.axis}

    def fit(self, shape: tuple[int, ...]) -> None:
        _within(self.axis, self.index, shape)
        count = len(self.index)
        _expect(self.values, (*shape[: self.axis], count, *shape[self.axis + 1 :]), f"values of {count} slices")


@dataclass(frozen=True, eq=False)
class Elements:
    """Elements: `index` (n) sorted unique int64 into the tensor in C order, `values` (n) float32."""

    name: ClassVar[str] = "elements"
    index: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        _fix(self, index=_positions(self.index), values=_floats(self.values, "values"))

    def tensors(self) -> dict[str, Tensor]:
        return {"index": self.index, "values": self.values}

    def facts(self) -> dict[str, Any]:
        return {}

    def fit(self, shape: tuple[int, ...]) -> None:
        _below(self.index, math.prod(shape))
        _expect(self.values, (len(self.index),), "values of elements")


@dataclass(frozen=True, eq=False)
class Add:
    """W + a.dW, for any finite strength a.

    `shape` is the tensor's; `form` gives dW. `projective` names the side of a low-rank dW whose space is
    projected: such a change moves a code *to* a place, not *by* a step, and is summed with another only if
    the two are orthogonal. Raises EditError when made with tensors that do not fit.
    """

    kind: ClassVar[str] = "add"
    strengths: ClassVar[str] = "any finite number"
    shape: tuple[int, ...]
    form: LowRank | Dense | Slices
    projective: Side | None = None

    def __post_init__(self) -> None:
        _fix(self, shape=_shape(self.shape))
        if not isinstance(self.form, LowRank | Dense | Slices):
            raise EditError(f"an add was given {type(self.form).__name__}; expected LowRank, Dense or Slices")
        self.form.fit(self.shape)
        if self.projective not in (None, "left", "right"):
            raise EditError(f"projective is {self.projective!r}; expected 'left', 'right' or None")
        if self.projective and not isinstance(self.form, LowRank):
            raise EditError(
                f"a {self.form.name} add has no sides to project; expected a low-rank one, or projective=None"
            )

    @staticmethod
    def accepts(strength: float) -> bool:
        return math.isfinite(strength)

    @property
    def form_name(self) -> str:
        return self.form.name

    @property
    def rank(self) -> int | None:
        return self.form.rank

    @property
    def norm(self) -> float | None:
        return self.form.norm

    def tensors(self) -> dict[str, Tensor]:
        """The stored tensors by slot."""
        return self.form.tensors()

    def facts(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON."""
        return {
            "kind": self.kind,
            "form": self.form.name,
            "shape": list(self.shape),
            "projective": self.projective,
            **self.form.facts(),
        }


@dataclass(frozen=True, eq=False)
class Scale:
    """Slices along `axis` times 1 + a.(s - 1), for a strength a from 0 to 1.

    `index` (n) sorted unique int64; `factors` (n) float32 are the s. Raises EditError when made with tensors
    that do not fit.
    """

    kind: ClassVar[str] = "scale"
    form_name: ClassVar[str] = "slices"
    strengths: ClassVar[str] = "0 to 1"
    rank: ClassVar[int | None] = None
    norm: ClassVar[float | None] = None
    shape: tuple[int, ...]
    axis: int
    index: Tensor
    factors: Tensor

    def __post_init__(self) -> None:
        _fix(
            self,
            shape=_shape(self.shape),
            index=_positions(self.index),
            factors=_floats(self.factors, "factors"),
        )
        _within(self.axis, self.index, self.shape)
        _expect(self.factors, (len(self.index),), "factors of slices")

    @staticmethod
    def accepts(strength: float) -> bool:
        return 0 <= strength <= 1

    def tensors(self) -> dict[str, Tensor]:
        """The stored tensors by slot."""
        return {"index": self.index, "factors": self.factors}

    def facts(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON."""
        return {"kind": self.kind, "shape": list(self.shape), "axis": self.axis}


@dataclass(frozen=True, eq=False)
class Set:
    """Slices or elements take a value: exact and idempotent; strength 0 or 1.

    Raises EditError when made with tensors that do not fit.
    """

    kind: ClassVar[str] = "set"
    strengths: ClassVar[str] = "0 or 1"
    rank: ClassVar[int | None] = None
    norm: ClassVar[float | None] = None
    shape: tuple[int, ...]
    form: Slices | Elements

    def __post_init__(self) -> None:
        _fix(self, shape=_shape(self.shape))
        if not isinstance(self.form, Slices | Elements):
            raise EditError(f"a set was given {type(self.form).__name__}; expected Slices or Elements")
        self.form.fit(self.shape)

    @property
    def form_name(self) -> str:
        return self.form.name

    @staticmethod
    def accepts(strength: float) -> bool:
        return strength in (0, 1)

    def tensors(self) -> dict[str, Tensor]:
        """The stored tensors by slot."""
        return self.form.tensors()

    def facts(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON."""
        return {"kind": self.kind, "form": self.form.name, "shape": list(self.shape), **self.form.facts()}


Operation = Add | Scale | Set


def _fix(frozen: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


def _whole(numbers: Sequence[int], what: str) -> tuple[int, ...]:
    if not isinstance(numbers, Sequence) or not all(type(n) is int and n >= 0 for n in numbers):
        raise EditError(f"{what} is {numbers!r}; expected whole numbers from 0 up")
    return tuple(numbers)


def _shape(shape: Sequence[int]) -> tuple[int, ...]:
    sizes = _whole(shape, "shape")
    if len(sizes) > AXES_LIMIT or not 0 < math.prod(sizes) < 2**63:
        raise EditError(
            f"shape is {sizes}; expected at most {AXES_LIMIT} axes, none of them empty, and under 2^63 elements"
        )
    return sizes


def _owned(tensor: Tensor, dtype: torch.dtype, what: str) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise EditError(f"{what} is a {type(tensor).__name__}; expected a tensor of {dtype}")
    if tensor.dtype != dtype or tensor.layout != torch.strided or tensor.device.type == "meta" or not tensor.numel():
        raise EditError(
            f"{what} is a {tensor.layout} {tensor.dtype} tensor of shape {tuple(tensor.shape)} on "
            f"{tensor.device}; expected {dtype}, strided and not empty; convert it first"
        )
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _floats(tensor: Tensor, what: str) -> Tensor:
    owned = _owned(tensor, torch.float32, what)
    if not finite(owned):
        raise EditError(f"{what} holds NaN or infinity; expected finite numbers")
    return owned


def _positions(index: Tensor) -> Tensor:
    owned = _owned(index, torch.int64, "index")
    if owned.ndim != 1 or owned[0] < 0 or not (owned[1:] > owned[:-1]).all():
        raise EditError("index is not a sorted list of different positions; expected one axis, ascending, from 0 up")
    return owned


def _below(index: Tensor, limit: int) -> None:
    if int(index[-1]) >= limit:
        raise EditError(f"index reaches {int(index[-1])}; expected at most {limit - 1}")


def _within(axis: int, index: Tensor, shape: tuple[int, ...]) -> None:
    if type(axis) is not int or not 0 <= axis < len(shape):
        raise EditError(f"axis is {axis!r}; expected an axis of shape {shape}, counted from 0")
    _below(index, shape[axis])


def _expect(tensor: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(tensor.shape) != shape:
        raise EditError(f"{what} has shape {tuple(tensor.shape)}; expected {shape}")
