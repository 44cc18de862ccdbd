"""What an edit may do and must do, in a file beside it that names the edit and what it was measured with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edits.file import read_regular, write_atomically
from rewrite.check.findings import Finding
from rewrite.errors import RewriteError

LARGEST = 2**20
ROOM = 1.25
"""Bounds that are written leave so much room to what was measured."""

Number = Annotated[float, Field(allow_inf_nan=False)]


class Limit(BaseModel):
    """A finding's interval lies at or below `most`, at or above `least`; either may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    most: Number | None = None
    least: Number | None = None


class Bounds(BaseModel):
    """Limits by finding, and the conditions under which alone they mean anything."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal[1] = 1
    edit: str | None = None
    """Content digest of the edit; None in a file of limits that are meant for any edit."""
    conditions: dict[str, Any] = Field(default_factory=dict)
    """What was looked with and at: compared as a whole, where it is given."""
    limits: Annotated[dict[str, Limit], Field(min_length=1)]

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return self.model_dump(mode="json", exclude_none=True)

    def text(self) -> bytes:
        """Canonical JSON."""
        return (json.dumps(self.facts, indent=1, sort_keys=True) + "\n").encode()

    def save(self, path: Path) -> None:
        """Write them, whole or not at all."""
        write_atomically(path, self.text())


def read(path: Path) -> Bounds:
    """The bounds in a file; RewriteError, in one sentence, if it holds none."""
    try:
        return Bounds.model_validate(json.loads(read_regular(path, LARGEST)))
    except OSError as error:
        raise RewriteError(f"bounds cannot be read from {path} ({error.strerror}); give a bounds.json") from None
    except (ValueError, RecursionError) as error:
        said = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = f"{'.'.join(map(str, said['loc']))}: {said['msg']}" if said else "it is no JSON"
        raise RewriteError(
            f"{path} holds no bounds ({reason}); write them with `rewrite check --write-bounds`"
        ) from None


def measured(found: Mapping[str, Finding], names: Mapping[str, float], edit: str, conditions: dict[str, Any]) -> Bounds:
    """Bounds that what was found keeps with some room: at most for each of `names`, at least for the effect."""
    limits = {name: Limit(most=_rounded(max(found[name].high, 0.0) * ROOM)) for name in names}
    if found["effect"].low > 0:
        limits["effect"] = Limit(least=_rounded(found["effect"].low / ROOM))
    return Bounds(edit=edit, conditions=conditions, limits=limits)


def _rounded(value: float) -> float:
    """To six digits, of however small a number: 0 would leave no room."""
    return float(f"{value:.6g}")
