"""Archives written by torch.save: tensors and plain containers, never code."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import torch

from rewrite.errors import RewriteError

INFLATION_LIMIT = 4
"""torch.save compresses nothing, so an archive that unpacks to much more than itself is hostile."""


def read(content: bytes, what: str = "the file") -> Any:
    """What torch.save wrote, on the CPU: tensors and containers of plain values.

    RewriteError, naming `what`, if it is no such archive, is damaged, or holds anything that would run code.
    """
    if not content.startswith(b"PK\x03\x04"):
        raise RewriteError(f"{what} is not a torch archive; expected a file written by torch.save since torch 1.6")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise RewriteError(f"{what} is a damaged torch archive ({error}); fetch it again") from error
    if unpacked > INFLATION_LIMIT * len(content):
        raise RewriteError(
            f"{what} unpacks from {len(content)} to {unpacked} bytes, which torch.save never does; refused"
        )
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RewriteError(
            f"{what} holds more than tensors and plain containers, so stays shut; save its state dict alone"
        ) from error
    except (
        RuntimeError,
        ValueError,
        KeyError,
        EOFError,
        OSError,
        TypeError,
        IndexError,
        AttributeError,
    ) as error:
        reason = str(error).strip().partition("\n")[0]
        raise RewriteError(f"{what} is a damaged torch archive ({reason}); fetch it again") from error


def tensors(content: bytes, *wrappers: str, what: str = "the file") -> dict[str, torch.Tensor]:
    """The state dict in an archive, out of the first of `wrappers` around it, names without a common prefix.

    RewriteError if what is found there is no mapping from names to tensors.
    """
    found = read(content, what)
    for wrapper in wrappers:
        if isinstance(found, dict) and wrapper in found:
            found = found[wrapper]
            break
    if (
        not isinstance(found, dict)
        or not found
        or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found.items())
    ):
        raise RewriteError(f"{what} holds no state dict; expected names with tensors, bare or under {wrappers}")
    for prefix in ("module.", "_orig_mod.", "generator.", "G."):
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found
