"""How freed memory is used again.

glibc gives a large tensor's memory back to the system as soon as it is freed, and the next of its size is mapped and
cleared anew, page by page: on a CPU that is a third of the time of an image of 1024 px.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

NO_MAPPING, NO_TRIMMING, ARENAS = -4, -1, -8
"""M_MMAP_MAX, M_TRIM_THRESHOLD and M_ARENA_MAX of mallopt."""


def keep() -> None:
    """Let this process use freed memory again instead of giving it back; where glibc is, and for good."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(NO_MAPPING, 0)
        libc.mallopt(NO_TRIMMING, 2**31 - 1)
        # A thread's own arena is in pieces of 64 MiB, which are mapped and given back all the same.
        libc.mallopt(ARENAS, 1)
