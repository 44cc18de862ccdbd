"""A folder that appears whole, or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edits.file import write_atomically
from rewrite.errors import RewriteError
from rewrite.library.manifest import File


@contextmanager
def placed_in(folder: Path, files: Mapping[File, bytes]) -> Iterator[None]:
    """The folder holds these files and no others; if the block ends in an exception it is as it was."""
    if folder.is_symlink() or folder.parent.is_symlink():
        raise RewriteError(f"{folder} is a link, and stays as it is; give the library a folder of its own")
    mark, there = secrets.token_hex(8), False
    fresh, before = folder.with_name(f".{folder.name}.{mark}.part"), folder.with_name(f".{folder.name}.{mark}.before")
    try:
        fresh.mkdir(parents=True)
        for file, data in files.items():
            write_atomically(fresh / file, data)
        if folder.exists():
            folder.rename(before)
        fresh.rename(folder)
        there = True
        yield
    except BaseException as error:
        if there:
            shutil.rmtree(folder)
        if before.exists():
            before.rename(folder)
        if isinstance(error, OSError):
            raise RewriteError(
                f"{folder} cannot be written ({error.strerror}) and is as it was; choose another place"
            ) from None
        raise
    finally:
        for left in (fresh, before):
            shutil.rmtree(left, ignore_errors=True)
