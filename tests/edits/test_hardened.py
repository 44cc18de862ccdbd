"""Attacks on a large scale, each in a process of its own: thousands of mutated files, hundreds of killed writers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MEGABYTES = 256
"""Beyond what an idle process with torch takes."""
HANG = 300

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory and forks as Linux has them")


def told(program: str, folder: Path, number: int) -> dict:
    """What a program beside this file prints."""
    path = Path(__file__).with_name(program)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, path, folder, str(number)], capture_output=True, text=True, timeout=HANG, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_thousands_of_mutated_files_are_refused_or_read_as_what_they_are(tmp_path: Path) -> None:
    found = told("corpus.py", tmp_path, MEGABYTES)
    counts = found["counts"]
    assert found["faults"] == []
    assert found["left"] == []
    assert sum(counts.values()) >= 2000
    assert counts["sound: identical"] == 4
    kinds = {kind.partition(":")[0] for kind in counts}
    assert kinds == {
        "sound", "bit flips", "truncation", "blocks moved", "huge counts", "header surgery", "NaN",
        "duplicate keys", "path-like names", "deep JSON", "wide JSON", "sparse giants",
    }  # fmt: skip
    # Whatever changes a byte and is not signed anew with right digests is refused, without exception.
    assert not [kind for kind in ("bit flips", "truncation", "NaN", "duplicate keys") if f"{kind}: identical" in counts]


def test_a_writer_killed_at_any_instant_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    found = told("kills.py", tmp_path, 200)
    assert found["faults"] == []
    assert sum(found["found"]) == found["kills"] == 200
    assert found["inside a write"] > 0
