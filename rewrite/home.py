"""Where pulled models and cached statistics live: $REWRITE_HOME, or the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def home(*parts: str) -> Path:
    """A path below the cache folder. Nothing is created."""
    root = os.environ.get("REWRITE_HOME")
    return Path(root if root else platformdirs.user_cache_dir("rewrite")).expanduser().joinpath(*parts)
