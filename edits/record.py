"""An edit as one JSON record beside its tensors, and back. Nothing in a record that is read is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from edits.canonical import Json
from edits.edit import Edit
from edits.errors import EditError
from edits.identity import Base, Digests, Known, Upstream, check_digest
from edits.operations import Add, Dense, Elements, LowRank, Operation, Scale, Set, Slices

VERSION = 1
FEATURES: frozenset[str] = frozenset()
"""Names that a file may list under `requires`."""
UNSEALED = "0" * 64

_FACTS = {"strength", "base", "operations", "recipe", "made_by", "notes"}
_PRECISIONS = {"float32", "float16", "bfloat16"}
_FORMS: dict[str, set[str]] = {
    "low-rank": {"left_axes", "right_axes"},
    "dense": set(),
    "slices": {"axis"},
    "elements": set(),
}
Take = Callable[[str], Tensor]


class TooNew(EditError):
    """The file is sound, as far as can be told, but needs a newer version of this package."""


def record(edit: Edit, seal: str = UNSEALED) -> dict[str, Json]:
    """The whole edit but for its tensors, as JSON."""
    return {
        "format": {"version": VERSION, "requires": []},
        "content": edit.content,
        "seal": seal,
        "members": [
            {"content": member.content, "coefficient": coefficient, **_facts(member)}
            for member, coefficient in edit.members
        ],
        **_facts(edit),
    }


def tensors(edit: Edit) -> dict[str, Tensor]:
    """Every stored tensor by its name in the file; those of a member begin with `<member content>!`."""
    found = edit.tensors()
    for member, _ in edit.members:
        found |= {f"{member.content}!{name}": tensor for name, tensor in member.tensors().items()}
    return found


def restore(value: Json, found: dict[str, Tensor]) -> tuple[Edit, str]:
    """The edit of a record and its tensors, and the seal that the record states.

    Tensors are taken out of `found` as they are used, so that their memory is free once they are copied. Raises
    EditError naming the field at fault, for tensors too many or too few, and if a stated content is not the
    content.
    """
    _check_format(value)
    stated = _object(value, _FACTS | {"format", "content", "seal", "members"}, "the edit")
    check_digest(stated["seal"], "the seal")

    def take(name: str) -> Tensor:
        if name not in found:
            raise EditError(f"there is no tensor {name!r}; the description needs it")
        return found.pop(name)

    members = []
    for i, member in enumerate(_list(stated["members"], "members")):
        fields = _object(member, _FACTS | {"content", "coefficient"}, f"member {i}")
        check_digest(fields["content"], f"the content of member {i}")
        restored = _edit(fields, take, f"{fields['content']}!", ())
        _check_content(restored, fields["content"])
        members.append((restored, _float(fields["coefficient"], f"the coefficient of member {i}")))
    edit = _edit(stated, take, "", tuple(members))
    _check_content(edit, stated["content"])
    if found:
        raise EditError(f"it holds the tensor {min(found)!r}, which the description does not name")
    return edit, stated["seal"]


def _facts(edit: Edit) -> dict[str, Json]:
    return {
        "strength": edit.strength,
        "base": edit.base.facts(),
        "operations": edit.operation_facts(),
        "recipe": edit.recipe,
        "made_by": edit.made_by,
        "notes": edit.notes,
    }


def _check_format(value: Json) -> None:
    """Before anything else is looked at: a newer version may have other fields."""
    form = value.get("format") if isinstance(value, dict) else None
    if not isinstance(form, dict) or type(form.get("version")) is not int:
        raise EditError("it does not state the version of its format")
    if form["version"] > VERSION:
        raise TooNew(f"it has format version {form['version']}; expected {VERSION}; update this package")
    fields = _object(form, {"version", "requires"}, "the format")
    if fields["version"] != VERSION:
        raise EditError(f"it has format version {fields['version']}; there is no such version")
    for feature in _list(fields["requires"], "requires"):
        if not isinstance(feature, str) or feature not in FEATURES:
            raise TooNew(f"it requires the feature {feature!r}, which is not known here; update this package")


def _check_content(edit: Edit, stated: str) -> None:
    if edit.content != stated:
        raise EditError(f"its content is {edit.content[:12]} and it states {str(stated)[:12]}")


def _edit(fields: dict[str, Json], take: Take, prefix: str, members: tuple[tuple[Edit, float], ...]) -> Edit:
    made = {
        name: tuple(
            _operation(value, _within(take, f"{prefix}{name}::{i}."))
            for i, value in enumerate(_list(values, f"the operations of {name!r}"))
        )
        for name, values in _pairs(fields["operations"], "operations")
    }
    base, strength = _base(fields["base"]), _float(fields["strength"], "strength")
    return Edit(made, base, strength, fields["recipe"], fields["made_by"], fields["notes"], members)


def _within(take: Take, prefix: str) -> Take:
    return lambda slot: take(prefix + slot)


def _operation(value: Json, take: Take) -> Operation:
    kind = value.get("kind") if isinstance(value, dict) else None
    form = value.get("form") if isinstance(value, dict) else None
    if kind == "scale":
        fields = _object(value, {"kind", "shape", "axis"}, "a scale")
        return Scale(_sizes(fields["shape"]), fields["axis"], take("index"), take("factors"))
    if kind not in ("add", "set"):
        raise EditError(f"it has an operation of the kind {kind!r}; expected add, scale or set")
    if not isinstance(form, str) or form not in _FORMS:
        raise EditError(f"it has an operation of the form {form!r}; expected one of {', '.join(_FORMS)}")
    own = {"kind", "form", "shape", "projective"} if kind == "add" else {"kind", "form", "shape"}
    fields = _object(value, own | _FORMS[form], f"a {form} {kind}")
    parts = _form(form, fields, take)
    if kind == "add":
        return Add(_sizes(fields["shape"]), parts, fields["projective"])  # type: ignore[arg-type]
    return Set(_sizes(fields["shape"]), parts)  # type: ignore[arg-type]


def _form(form: str, fields: dict[str, Json], take: Take) -> LowRank | Dense | Slices | Elements:
    if form == "low-rank":
        axes = _sizes(fields["left_axes"]), _sizes(fields["right_axes"])
        return LowRank(take("left"), take("right"), *axes)
    if form == "slices":
        return Slices(fields["axis"], take("index"), take("values"))
    return Dense(take("dense")) if form == "dense" else Elements(take("index"), take("values"))


def _base(value: Json) -> Base:
    fields = _object(value, {"architecture", "touched", "upstream"}, "the base")
    touched = {}
    for name, known in _pairs(fields["touched"], "the touched tensors"):
        entry = _object(known, _PRECISIONS | {"shape"}, f"the base of {name!r}")
        touched[name] = Known(_sizes(entry["shape"]), _digests(entry))
    upstream = None
    if fields["upstream"] is not None:
        entry = _object(fields["upstream"], _PRECISIONS | {"names"}, "the upstream base")
        upstream = Upstream(tuple(_list(entry["names"], "the upstream names")), _digests(entry))
    return Base(fields["architecture"], touched, upstream)


def _digests(entry: dict[str, Json]) -> Digests:
    return Digests(**{precision: entry[precision] for precision in _PRECISIONS})


def _object(value: Json, names: set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != names:
        found = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
        raise EditError(f"{what} has the fields {found}; expected {', '.join(sorted(names))}")
    return value


def _pairs(value: Json, what: str) -> Iterator[tuple[str, Json]]:
    if not isinstance(value, dict):
        raise EditError(f"{what} is no object of names")
    yield from value.items()


def _list(value: Json, what: str) -> list[Json]:
    if not isinstance(value, list):
        raise EditError(f"{what} is no list")
    return value


def _sizes(value: Json) -> tuple[int, ...]:
    return tuple(_list(value, "a shape or a list of axes"))


def _float(value: Json, what: str) -> float:
    if type(value) is not float:
        raise EditError(f"{what} is {value!r}; expected a number with a fraction, as 1.0")
    return value
