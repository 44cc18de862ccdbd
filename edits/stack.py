"""Edits on a module, in place: push, set a strength, remove, exact undo.

The weights are always base + set of (edit, strength), made anew from a copy of the base. So the order of
pushes does not matter, dragging a strength accumulates nothing, and removal gives back the base bit for bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from edits import clash, display, fit, identity, ties
from edits.edit import Edit
from edits.errors import EditError, EditWarning
from edits.finite import finite
from edits.materialise import Change, changes, materialise

T = TypeVar("T")


@dataclass(frozen=True)
class _State:
    """All that a stack knows, replaced as one. A tensor goes by one of its names; `tied` gives them all."""

    contents: Mapping[str, tuple[Edit, float]] = field(default_factory=dict)
    forced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    plan: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    tied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: Mapping[str, Tensor] = field(default_factory=dict)
    written: Mapping[str, Tensor] = field(default_factory=dict)


class Stack:
    """Edits on one module. Only touched tensors are copied (to the CPU, as they were and as they were last
    written); parameters stay the same objects.

    Every operation happens whole or not at all. Each first checks that the touched tensors hold what the
    stack last wrote, and raises EditError if something else has changed them; `clear(force=True)` is the way
    out then.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._state = _State()

    def _repr_html_(self) -> str:
        return display.stack(self)

    @property
    def contents(self) -> tuple[tuple[Edit, float], ...]:
        """The edits and their strengths, first pushed first; edits at strength 0 among them."""
        return tuple(self._state.contents.values())

    @property
    def forced(self) -> Mapping[str, tuple[str, ...]]:
        """By content: edits whose base was overridden by `force`, with the parameters that differ from it."""
        return dict(self._state.forced)

    def push(self, edit: Edit, strength: float | None = None, *, force: bool = False) -> None:
        """Add an edit, at its own default strength if none is given; strength 0 lists it without any effect.

        The edit is judged against the base of the stack, whatever is on the stack already. If a touched
        tensor differs from the edit's base it is refused, unless `force`; if only upstream tensors differ
        there is an EditWarning. Raises EditError also for a content that is there already, for clashing
        changes, for an edit that alters nothing of the base at strength 1, and for weights out of the range
        of their type.
        """
        self._add([(edit, strength)], force)

    def extend(self, edits: Iterable[tuple[Edit, float | None]], *, force: bool = False) -> None:
        """Push several (edit, strength) pairs, all or none; None is the edit's own strength.

        The bits are those of pushing one by one, in any order; the weights are looked at once for all.
        """
        self._add(list(edits), force)

    def set_strength(self, edit: Edit | str, strength: float) -> None:
        """Give an edit on the stack (or its content digest) another strength; EditError as from `push`."""
        content = self._find(edit)
        held = self._state.contents[content][0]
        reached = held.accepted(strength)
        self._check_undisturbed()
        self._become({**self._state.contents, content: (held, reached)}, self._state.forced)

    def remove(self, edit: Edit | str) -> None:
        """Take an edit (or its content digest) off: the weights are those without it, to the bit."""
        content = self._find(edit)
        self._check_undisturbed()
        self._become(_without(self._state.contents, content), _without(self._state.forced, content))

    def clear(self, *, force: bool = False) -> None:
        """Take all edits off: the base, to the bit. With `force`, also where something else has changed the
        weights.

        A tensor that was given another type or shape meanwhile is then put back as it was. EditError if a
        parameter is gone.
        """
        if not force:
            self._check_undisturbed()
            self._become({}, {})
            return
        state, tensors = self._state, identity.state(self.module)
        names = {name: value for at, value in state.base.items() for name in state.tied[at]}
        gone = [name for name in sorted(names) if name not in tensors or not _restored(tensors[name], names[name])]
        self._state = _State()
        if gone:
            raise EditError(
                f"{', '.join(gone)} are no longer in the module, or hold no plain numbers; the rest of it is the base "
                f"again; load it anew"
            )

    def disturbed(self) -> tuple[str, ...]:
        """Names of touched tensors that something else has changed since the stack last wrote them."""
        state, tensors = self._state, identity.state(self.module)
        return tuple(
            name
            for at, written in state.written.items()
            for name in state.tied[at]
            if name not in tensors or not _holds(tensors[name], written)
        )

    def _add(self, pairs: list[tuple[Edit, float | None]], force: bool) -> None:
        reached = [(edit, edit.accepted(edit.strength if given is None else given)) for edit, given in pairs]
        self._check_undisturbed()
        state, tensors, known = self._state, identity.state(self.module), self._names()
        look = identity.Look({name: state.base.get(known[name], tensor) for name, tensor in tensors.items()})
        contents, forced = dict(state.contents), dict(state.forced)
        for edit, strength in reached:
            edit.check_intact()
            _check_new(edit, contents)
            overridden = fit.check(edit, look, force=force, stacklevel=4)
            _check_alters(edit, look.tensors, known)
            contents[edit.content] = (edit, strength)
            forced |= {edit.content: overridden} if overridden else {}
        self._become(contents, forced)

    def _check_undisturbed(self) -> None:
        if names := self.disturbed():
            raise EditError(
                f"{', '.join(names)} changed behind the stack's back; expected the weights that it last "
                f"wrote; `clear(force=True)` gives back the base, or load the module anew"
            )

    def _names(self) -> dict[str, str]:
        """For every name in the module, the one that its tensor goes by."""
        before = {name: at for at, names in self._state.tied.items() for name in names}
        tied = ties.groups(identity.state(self.module))
        return {name: next((before[n] for n in names if n in before), names[0]) for name, names in tied.items()}

    def _become(self, contents: Mapping[str, tuple[Edit, float]], forced: Mapping[str, tuple[str, ...]]) -> None:
        """Compute everything, then write it: the only way to another state."""
        state, tensors, known = self._state, identity.state(self.module), self._names()
        found: dict[str, list[Change]] = {}
        for edit, strength in contents.values():
            for name, made in changes(edit, strength).items():
                found.setdefault(known[name], []).extend(made)
        plan = {at: tuple(sorted(made, key=lambda change: change.place)) for at, made in found.items()}
        clash.check(plan)
        ties.check_own(self.module, tensors, [name for name in known if known[name] in plan])
        tied, base, written = dict(state.tied), dict(state.base), dict(state.written)
        for at in plan:
            tied[at] = tuple(name for name in known if known[name] == at)
            ties.check_alone(at, tensors, tied[at])
            if at not in base:
                base[at] = tensors[at].detach().cpu().clone(memory_format=torch.contiguous_format)
                written[at] = base[at]
        fresh = {
            at: _made(at, base[at], plan.get(at, ()))
            for at in sorted(base)
            if plan.get(at, ()) != state.plan.get(at, ())
        }
        written |= fresh
        after = _State(contents, forced, plan, _only(tied, plan), _only(base, plan), _only(written, plan))
        self._write([(tensors[name], fresh[at]) for at in fresh for name in tied[at]], after)

    def _write(self, targets: list[tuple[Tensor, Tensor]], after: _State) -> None:
        before = self._state
        held = [(tensor, tensor.detach().cpu().clone()) for tensor, _ in targets]
        try:
            for tensor, value in targets:
                _put(tensor, value)
            self._state = after
        except BaseException:
            self._state = before
            for tensor, value in held:
                _put(tensor, value)
            raise

    def _find(self, edit: Edit | str) -> str:
        content = edit if isinstance(edit, str) else edit.content
        if content not in self._state.contents:
            for held, _ in self.contents:
                if any(member.content == content for member, _ in held.members):
                    raise EditError(
                        f"edit {content[:12]} is on the stack only as a member of {held!r}; remove that one"
                    )
            raise EditError(
                f"edit {content[:12]} is not on the stack; there are {list(self._state.contents) or 'none'}"
            )
        return content


@contextmanager
def applied(module: nn.Module, *edits: tuple[Edit, float | None], force: bool = False) -> Iterator[Stack]:
    """Edits for the length of a block: (edit, strength) pairs, None being the edit's own strength.

    On any exit the touched tensors get their old bits back, even if something within the block changed the
    weights: what was changed had edits mixed into it, and the block promises the base. It is then reported:
    by an EditError if the block ended well, by an EditWarning if an exception, which must not be hidden,
    leaves it. Raises EditError as `Stack.push` does.
    """
    stack, left_by_exception = Stack(module), True
    try:
        stack.extend(edits, force=force)
        yield stack
        left_by_exception = False
    finally:
        try:
            names = stack.disturbed()
        finally:
            stack.clear(force=True)
        if names:
            report = f"{', '.join(names)} changed inside the block, beside its edits; the base was put back"
            if not left_by_exception:
                raise EditError(f"{report}; expected the edited weights; train outside the block")
            warnings.warn(report, EditWarning, stacklevel=2)


def _made(name: str, base: Tensor, made: tuple[Change, ...]) -> Tensor:
    value = materialise(base, made)
    if made and not finite(value):
        raise EditError(
            f"{name} would hold NaN or infinity; expected weights within the range of {base.dtype}; "
            f"use smaller strengths, or weights of a wider type"
        )
    return value


def _check_new(edit: Edit, contents: Mapping[str, tuple[Edit, float]]) -> None:
    there = {member.content: held for held, _ in contents.values() for member, _ in held.parts(1.0)}
    for member, _ in edit.parts(1.0):
        if member.content in there:
            raise EditError(
                f"edit {member.content[:12]} is on the stack already, in {there[member.content]!r}; "
                f"expected each edit once; use set_strength"
            )


def _check_alters(edit: Edit, base: Mapping[str, Tensor], known: Mapping[str, str]) -> None:
    for member, _ in edit.parts(1.0):
        plan: dict[str, list[Change]] = {}
        for name, found in changes(member, 1.0).items():
            plan.setdefault(known[name], []).extend(found)
        if all(torch.equal(materialise(base[at], plan[at]), base[at].detach().cpu()) for at in plan):
            raise EditError(
                f"edit {member.content[:12]} alters nothing of {', '.join(member.touched)} at strength "
                f"1; expected a change that outlasts rounding; edit the weights at a higher precision, "
                f"or leave the edit out"
            )


def _holds(tensor: Tensor, written: Tensor) -> bool:
    """Whether a tensor still has this type, this shape and these bits."""
    if not _plain(tensor) or tensor.dtype != written.dtype or tensor.shape != written.shape:
        return False
    return torch.equal(_bits(tensor), _bits(written))


def _bits(tensor: Tensor) -> Tensor:
    """The bits as integers: as floating point, NaN would differ from itself and -0 be 0."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}.get(flat.element_size(), torch.int64))


def _plain(tensor: Tensor) -> bool:
    return tensor.device.type != "meta" and tensor.layout == torch.strided and not tensor.is_quantized


def _put(tensor: Tensor, value: Tensor) -> None:
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        tensor.copy_(value)


def _restored(tensor: Tensor, value: Tensor) -> bool:
    """Give a tensor these values, their type and shape; whether that can be done."""
    if not _plain(tensor):
        return False
    if tensor.dtype == value.dtype and tensor.shape == value.shape:
        _put(tensor, value)
    else:
        tensor.data = value.to(tensor.device, copy=True)
    return True


def _without(mapping: Mapping[str, T], key: str) -> dict[str, T]:
    return {k: value for k, value in mapping.items() if k != key}


def _only(mapping: Mapping[str, T], keys: Mapping[str, object]) -> dict[str, T]:
    return {k: value for k, value in mapping.items() if k in keys}
