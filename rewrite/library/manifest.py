"""What a library holds, pinned: one canonical text, so that every change of an entry is a change of a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edits.file import read_regular, write_atomically
from rewrite.check import Limit
from rewrite.errors import RewriteError

MANIFEST = "manifest.json"
RECIPE: Final = "recipe.yaml"
UNITS: Final = "units.yaml"
DIRECTION: Final = "direction.yaml"
COMPOSE: Final = "compose.yaml"
EDIT: Final = "edit.safetensors"
BOUNDS: Final = "bounds.json"
SHEET: Final = "sheet.png"
CARD: Final = "README.md"
LARGEST = 8 * 2**20

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}$")]
"""Of an entry: its model's, and its own below that. Neither leaves the library's folder."""
Source = Literal["recipe.yaml", "units.yaml", "direction.yaml", "compose.yaml"]
"""What an edit is made from: a rule, a unit edit, a direction or a composition (`rewrite.library.make`)."""
File = Source | Literal["edit.safetensors", "bounds.json", "sheet.png", "README.md"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Look(_Strict):
    """What an entry's bounds were judged with and at; the rest is the defaults of `rewrite.check`."""

    samples: Annotated[int, Field(ge=8, le=100_000)]
    """Seeds looked at, from `first` on; as many again, held out, stand for the base's own variety."""
    first: Annotated[int, Field(ge=0)] = 0
    truncation: Number = 1.0
    eye: str = "lite0@64/320"
    distance: str = "pd-lite0"
    region: tuple[Fraction, Fraction, Fraction, Fraction] | None = None
    """Where it may act: a box, or"""
    concept: str | None = None
    """a class of the segmenter, or several with commas between: wherever one of them is; else anywhere."""
    segmenter: Literal["scenes", "faces"] | None = None
    """Of those that are known by name alone: a manifest runs nobody's code."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.region and self.concept:
            raise ValueError("region and concept both say where the edit may act; give one of them")
        if self.concept and not self.segmenter:
            raise ValueError("a concept needs the segmenter that knows it")
        return self


class Entry(_Strict):
    """One saved edit: its files, what it is, and what it was judged to do."""

    content: Digest
    """Of the edit."""
    files: dict[File, Digest]
    """SHA-256 of each file in its folder; there are no others."""
    limits: Annotated[dict[str, Limit], Field(min_length=1)]
    """Its bounds are these, or tighter."""
    look: Look
    waived: tuple[str, ...] = ()
    """Findings by which it passes its own bounds but not what is usual (`rewrite.check` without bounds)."""
    threads: Annotated[int, Field(ge=1)]
    """By which its recipe gives the same bytes again."""
    tolerance: Annotated[float, Field(gt=0, lt=1)]
    """How far, relative to its change of weights, what another machine makes of its recipe may be from it."""
    sketch: dict[str, tuple[Number, ...]] | None = None
    """Of the change of each tensor (`rewrite.library.likeness`), where the edit itself is not part of the library."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self._sources) != 1:
            raise ValueError(f"an entry is made from one of {', '.join(get_args(Source))}, and from one only")
        if BOUNDS not in self.files or CARD not in self.files:
            raise ValueError(f"an entry has a {BOUNDS} and a {CARD}")
        if self.is_shipped == (self.sketch is not None):
            raise ValueError(f"an entry has either an {EDIT} or a sketch of it, one of the two")
        return self

    @property
    def is_shipped(self) -> bool:
        """Whether the edit itself is part of the library."""
        return EDIT in self.files

    @property
    def recipe(self) -> Source:
        """The file that it is made from."""
        return self._sources[0]

    @property
    def _sources(self) -> list[Source]:
        return [file for file in get_args(Source) if file in self.files]


class Manifest(_Strict):
    """The entries of a library by name, `<model>/<name>`."""

    format: Literal[1] = 1
    entries: dict[Name, Entry] = Field(default_factory=dict)

    def text(self) -> bytes:
        """The one text of this manifest."""
        facts = self.model_dump(mode="json", exclude_none=True)
        return (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode()

    def save(self, root: Path) -> None:
        """Write it into a library's folder, whole or not at all."""
        write_atomically(root / MANIFEST, self.text())


def read(root: Path) -> Manifest:
    """The manifest in a library's folder, an empty one if there is none; RewriteError for one that is unsound."""
    path = root / MANIFEST
    if not path.exists():
        return Manifest()
    try:
        found = read_regular(path, LARGEST)
        manifest = Manifest.model_validate(json.loads(found))
    except OSError as error:
        raise RewriteError(
            f"{path} cannot be read ({error.strerror}); check the path, or get the library anew"
        ) from None
    except (ValueError, RecursionError) as error:
        raise RewriteError(f"{path} is no manifest of a library ({_reason(error)}); get the library anew") from None
    if found != manifest.text():
        raise RewriteError(f"{path} is not as `rewrite library add` writes it; get it anew, or add the entries again")
    return manifest


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "it is no JSON"
    said = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, said['loc']))}: {said['msg'].removeprefix('Value error, ')}"
