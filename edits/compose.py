"""Sums of edits. Nothing is folded: a composed edit keeps its members and their coefficients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edits import clash
from edits.canonical import Json
from edits.edit import Edit
from edits.errors import EditError
from edits.identity import merge
from edits.materialise import changes


def compose(
    edits: Iterable[tuple[Edit, float]],
    *,
    recipe: Json = None,
    made_by: Mapping[str, Json] | None = None,
    notes: Mapping[str, Json] | None = None,
) -> Edit:
    """One edit that does what these (edit, strength) pairs do together, to the bit, in whatever order.

    Composed edits among them are taken apart, coefficients multiplied. Raises EditError for an edit that is
    there twice, a strength that it cannot have, strength 0 (leave it out), bases that disagree, and changes
    that clash.
    """
    members: dict[str, tuple[Edit, float]] = {}
    for edit, strength in edits:
        for member, coefficient in edit.parts(edit.accepted(strength)):
            if member.content in members:
                raise EditError(
                    f"edit {member.content[:12]} is there twice; expected each edit once; give it the sum of "
                    f"its strengths"
                )
            members[member.content] = (member, coefficient)
    if not members:
        raise EditError("there is nothing to compose; expected at least one edit")
    ordered = tuple(members[content] for content in sorted(members))
    base = merge([member.base for member, _ in ordered])
    composed = Edit({}, base, 1.0, recipe, dict(made_by or {}), dict(notes or {}), ordered)
    clash.check(changes(composed, 1.0))
    return composed
