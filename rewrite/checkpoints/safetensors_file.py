"""Safetensors of others: a header that says where each tensor lies, and nothing that runs."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from edits import canonical
from edits.errors import EditError
from rewrite.checkpoints.content import Content, Found
from rewrite.checkpoints.strided import Storage, steps, strided
from rewrite.errors import RewriteError

HEADER_LIMIT = 64 * 2**20
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
}  # fmt: skip


def looks(view: memoryview) -> bool:
    """Whether these bytes begin as safetensors do."""
    length = int.from_bytes(view[:8], "little")
    return len(view) > 9 and view[8:9] == b"{" and 2 <= length <= len(view) - 8


def read(path: Path, view: memoryview) -> Content:
    """RewriteError for a header that is not sound, by the library's own check, or describes a type torch lacks."""
    length = int.from_bytes(view[:8], "little")
    if length > HEADER_LIMIT:
        raise RewriteError(f"its header has {length} bytes; expected {HEADER_LIMIT} at most")
    try:
        # The stock reader takes the last of two keys that are alike, and any depth.
        header = canonical.parse(bytes(view[8 : 8 + length]))
        with safe_open(path, framework="pt") as sound:
            names = set(sound.keys())
    except (SafetensorError, EditError, MemoryError, OSError) as error:
        raise RewriteError(f"its safetensors header is not sound ({error!s:.200})") from None
    metadata = header.pop("__metadata__", {})
    found = Found()
    for name in sorted(names & set(header), key=lambda name: header[name]["data_offsets"]):
        entry = header[name]
        start, stop = entry["data_offsets"]
        if entry["dtype"] not in DTYPES:
            found.broken[name] = f"numbers of type {entry['dtype']}"
            continue
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        storage = Storage(dtype, math.prod(shape))
        storage.fill(view[8 + length + start : 8 + length + stop], 8 + length + start)
        found.views[name] = strided(storage, 0, shape, steps(shape, fortran=False))
    return Content("safetensors", {"": found}, {"metadata": metadata}, ("safetensors, by its header",))


__all__ = ["looks", "read"]
