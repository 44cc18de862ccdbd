"""Published weight files: found in torch's own cache, downloaded once, read without running anything."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edits.file import open_regular
from rewrite.errors import RewriteError

DIGITS = re.compile(r"-([0-9a-f]{8,64})\.")
"""By torch's convention a file's name holds the first digits of its SHA-256."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Tensors by name, and the SHA-256 of the file that they were in."""

    tensors: Mapping[str, Tensor]
    sha256: str
    published: bool
    """Whether the hash begins as the file's name says; true where the name says nothing."""


def read(path: Path, what: str, remedy: str) -> Weights:
    """The tensors in a file that torch.save wrote; RewriteError, ending in `remedy`, if it is damaged or another."""
    try:
        with open_regular(path) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            found = torch.load(stream, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        reason = str(getattr(error, "strerror", None) or error).strip().partition("\n")[0].rstrip(".")
        raise RewriteError(f"{what} cannot be read from {path} ({reason}); {remedy}") from None
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items()
    ):
        raise RewriteError(f"{what}: {path} holds no mapping of names to tensors; {remedy}")
    digits = DIGITS.search(path.name)
    return Weights(found, sha256, digits is None or sha256.startswith(digits[1]))


def from_hub(url: str, what: str) -> Weights:
    """The file that `url` ends in, from torch's cache ($TORCH_HOME/hub/checkpoints), or downloaded to there.

    A file that lies there is taken as torch takes it, whatever its hash: `published` says whether it is the one.
    RewriteError, with the remedy, if it is missing and cannot be downloaded, or is damaged.
    """
    name = url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists():
        digits = DIGITS.search(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digits and digits[1], progress=False)
        except (OSError, RuntimeError) as error:
            reason = str(getattr(error, "reason", None) or error).rstrip(".")
            raise RewriteError(
                f"{what} needs {name}, which is not in {path.parent} and could not be downloaded ({reason}); fetch "
                f"{url} elsewhere and place it there, or set TORCH_HOME to where hub/checkpoints holds it"
            ) from None
    return read(path, what, f"delete it, and let it be downloaded again or fetch {url}")
