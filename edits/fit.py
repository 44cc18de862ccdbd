"""May this edit act on these weights? Refused where they are provably others, warned of where they may be."""

from __future__ import annotations

import warnings

from edits import identity
from edits.edit import Edit
from edits.errors import EditError, EditWarning


def check(edit: Edit, look: identity.Look, *, force: bool = False, stacklevel: int = 2) -> tuple[str, ...]:
    """Names of touched parameters that are not the edit's base and were overridden by `force`.

    Raises EditError if there are any and `force` is not given, and for a parameter that is missing, of another
    shape, or cannot be edited. An EditWarning, with its `stacklevel` counted from here, if only upstream differs.
    """
    different: dict[str, None] = {}
    elsewhere: list[Edit] = []
    for member, _ in edit.parts(1.0):
        verdict = identity.compare(member.base, look)
        different |= dict.fromkeys(verdict.different)
        elsewhere += [member] if verdict.upstream == "different" else []
    if different and not force:
        raise EditError(
            f"{', '.join(different)} of this module are not the weights that edit {edit.content[:12]} "
            f"was made for; expected its base, at any precision; load that model, or override with force"
        )
    for member in elsewhere:
        warnings.warn(
            f"edit {member.content[:12]} was made for other weights upstream of "
            f"{', '.join(member.touched)}; it may not do here what it did there",
            EditWarning,
            stacklevel=stacklevel,
        )
    return tuple(different)
