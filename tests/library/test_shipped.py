"""The library that comes with the package."""

from __future__ import annotations

import os

import pytest

import rewrite
from rewrite.errors import RewriteError
from rewrite.library import check_files, opened, verify
from rewrite.library.addition import RECIPES_ONLY, TOLERANCE
from rewrite.models import ZOO

LIBRARY = opened()
SMALL = 1_000_000
"""Bytes of an entry."""
HOME = os.environ.get("REWRITE_HOME")
"""Where pulled models lie."""


def test_there_are_entries() -> None:
    assert sum(name.startswith("faces64/") for name in LIBRARY.names) >= 1


@pytest.mark.parametrize("name", LIBRARY.names)
def test_an_entry_is_as_it_was_judged(name: str) -> None:
    check_files(LIBRARY, name)
    entry, model = LIBRARY.entry(name), name.split("/")[0]
    assert model in ZOO
    assert entry.is_shipped == (model not in RECIPES_ONLY)
    assert entry.tolerance <= TOLERANCE
    assert sum(path.stat().st_size for path in LIBRARY.folder(name).iterdir()) < SMALL
    assert entry.look.samples >= (1_000 if entry.is_shipped else 250)
    bounds = LIBRARY.bounds(name)
    assert bounds.conditions["model"] == model
    assert bounds.limits == entry.limits
    if entry.is_shipped:
        edit = LIBRARY.edit(name)
        assert {part.recipe["model"] for part, _ in edit.parts(1.0) if part.recipe and "model" in part.recipe} == {
            model
        }


@pytest.mark.real
@pytest.mark.parametrize("name", [name for name in LIBRARY.names if name.startswith("faces64/")])
def test_an_entry_is_made_again(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWRITE_HOME", HOME) if HOME else patch.delenv("REWRITE_HOME")
        try:
            generator = rewrite.load("faces64")
        except RewriteError as error:
            pytest.skip(f"the model faces64 is not in the cache and cannot be pulled: {error}")
    [found] = verify(LIBRARY, [name], lambda _: generator, quick=True)
    assert found.outcome == "PASS", found.wrong
