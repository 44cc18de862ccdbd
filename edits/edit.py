"""An edit: operations on named tensors, and facts about itself. A value: nothing in it changes once made."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any

from torch import Tensor

from edits import canonical, display, identity
from edits.canonical import Json
from edits.errors import EditError
from edits.identity import Base
from edits.operations import Add, Operation, Scale, Set


@dataclass(frozen=True)
class Row:
    """An operation, as a line of a table. `norm` is the Frobenius norm of dW, None where it takes a base."""

    parameter: str
    kind: str
    form: str
    shape: tuple[int, ...]
    rank: int | None
    norm: float | None
    coefficient: float


@dataclass(frozen=True, eq=False, repr=False)
class Edit:
    """A small, named, checkable change of weights.

    `operations` by exact parameter name; `base` says which weights they are for, and describes those
    parameters and no others; `strength` is the default strength, a fact that is not folded into the
    operations; `recipe` (JSON) makes the edit again; `made_by` and `notes` are JSON objects. A composed edit
    (`edits.compose`) has `members`, pairs of edit and coefficient sorted by content, in place of operations.
    Raises EditError when made of parts that do not fit.
    """

    operations: Mapping[str, tuple[Operation, ...]]
    base: Base
    strength: float = 1.0
    recipe: Json = None
    made_by: Mapping[str, Json] = field(default_factory=dict)
    notes: Mapping[str, Json] = field(default_factory=dict)
    members: tuple[tuple[Edit, float], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.base, Base):
            raise EditError(f"base is a {type(self.base).__name__}; expected a Base, as identity.describe gives it")
        made = {name: tuple(operations) for name, operations in sorted(self.operations.items())}
        members = tuple((member, member.accepted(coefficient)) for member, coefficient in self.members)
        for name in ("made_by", "notes"):
            if not isinstance(getattr(self, name), dict):
                raise EditError(f"{name} is {getattr(self, name)!r}; expected a JSON object")
            object.__setattr__(self, name, canonical.plain(getattr(self, name), name))
        object.__setattr__(self, "recipe", canonical.plain(self.recipe, "the recipe"))
        object.__setattr__(self, "operations", made)
        object.__setattr__(self, "members", members)
        if bool(made) == bool(members):
            raise EditError("an edit has either operations or members, one of the two; this one has both or neither")
        if members:
            self._check_members()
        else:
            self._check_operations()
        object.__setattr__(self, "strength", self.accepted(self.strength))

    def __repr__(self) -> str:
        return f"Edit({self.content[:12]}, {', '.join(self.touched)}, strength {self.strength:g})"

    def _repr_html_(self) -> str:
        return display.edit(self)

    @cached_property
    def content(self) -> str:
        """The edit's name: SHA-256, in hexadecimal, over its operations, their tensors and its base.

        Of a composed edit: over the sorted contents and coefficients of its members. Strength, recipe,
        made_by and notes are not part of it.
        """
        return self._digest()

    def check_intact(self) -> None:
        """EditError if somebody wrote to a tensor of this edit since its content was first asked for."""
        for member, _ in self.parts(1.0):
            if member._digest() != member.content:
                raise EditError(
                    f"the tensors of edit {member.content[:12]} were written to since it was made; expected a value "
                    f"that nothing changes; load the edit anew, or make another one of clones"
                )

    def _digest(self) -> str:
        if self.members:
            return hashlib.sha256(canonical.text([[m.content, c] for m, c in self.members])).hexdigest()
        total = hashlib.sha256(canonical.text({"base": self.base.facts(), "operations": self.operation_facts()}))
        for name, tensor in sorted(self.tensors().items()):
            total.update(canonical.text([name, str(tensor.dtype), list(tensor.shape)]) + b"\n")
            total.update(canonical.tensor_bytes(tensor))
        return total.hexdigest()

    @property
    def touched(self) -> tuple[str, ...]:
        """Names of the parameters that this edit changes, sorted."""
        return tuple(self.base.touched)

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row an operation, for a table."""
        return tuple(
            Row(name, o.kind, o.form_name, o.shape, o.rank, o.norm, coefficient)
            for member, coefficient in self.parts(1.0)
            for name, operations in member.operations.items()
            for o in operations
        )

    def parts(self, strength: float) -> Iterator[tuple[Edit, float]]:
        """The edits that this one comes down to at `strength`: its members at theirs, or itself."""
        if not self.members:
            yield self, strength
        for member, coefficient in self.members:
            yield member, strength * coefficient

    def accepted(self, strength: object) -> float:
        """`strength` as a float; EditError if one of the operations that it reaches cannot have it."""
        if isinstance(strength, bool) or not isinstance(strength, Real) or not math.isfinite(strength):
            raise EditError(f"strength is {strength!r}; expected a finite number")
        for member, reached in self.parts(float(strength)):
            for name, operations in member.operations.items():
                for operation in operations:
                    if not operation.accepts(reached):
                        raise EditError(
                            f"strength {reached:g} reaches a {operation.kind} of {name}; "
                            f"expected {operation.strengths} for that kind of operation"
                        )
        return float(strength)

    def tensors(self) -> dict[str, Tensor]:
        """The stored tensors, `<parameter>::<i>.<slot>`, i counting the parameter's operations."""
        return {
            f"{name}::{i}.{slot}": tensor
            for name, operations in self.operations.items()
            for i, operation in enumerate(operations)
            for slot, tensor in operation.tensors().items()
        }

    def operation_facts(self) -> dict[str, list[dict[str, Any]]]:
        """The operations but for their tensors, as JSON."""
        return {name: [o.facts() for o in operations] for name, operations in self.operations.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the edit to a safetensors file, whole or not at all; EditError if it cannot be written."""
        from edits.file import save

        save(self, path)

    def _check_operations(self) -> None:
        if sorted(self.operations) != list(self.base.touched):
            raise EditError(
                f"the edit changes {', '.join(self.operations)} and its base describes "
                f"{', '.join(self.base.touched) or 'nothing'}; expected the same parameters"
            )
        for name, operations in self.operations.items():
            shape = self.base.touched[name].shape
            if not operations:
                raise EditError(f"there is no operation for {name}; leave the parameter out")
            for operation in operations:
                if not isinstance(operation, Add | Scale | Set):
                    raise EditError(f"{name} has a {type(operation).__name__}; expected operations Add, Scale or Set")
                if operation.shape != shape:
                    raise EditError(f"the {operation.kind} of {name} is for shape {operation.shape}; expected {shape}")

    def _check_members(self) -> None:
        contents = [member.content for member, _ in self.members]
        if contents != sorted(set(contents)) or any(member.members for member, _ in self.members):
            raise EditError("the members are composed, repeated or not in order of content; use edits.compose")
        for member, coefficient in self.members:
            if not coefficient:
                raise EditError(f"member {member.content[:12]} has the coefficient 0, which is absence; leave it out")
        if self.base != identity.merge([member.base for member, _ in self.members]):
            raise EditError("the base is not that of the members together; use edits.compose")
