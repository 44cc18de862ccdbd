"""Kills a writer of one file, again and again, at random instants. Run as a program, with a folder and a number.

After each kill the file must hold the bytes of one of the two edits that were being written to it in turn. Prints, as
JSON, how many kills fell inside a write, and what went wrong.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import statistics
import sys
import time
from itertools import cycle
from pathlib import Path

import torch

import edits
from edits.file import pack

WRITES = 3
"""A kill falls anywhere within the time of so many."""


def made(size: int) -> list[edits.Edit]:
    base = {"w": torch.zeros(size)}
    return [
        edits.Edit({"w": (edits.Add((size,), edits.Dense(torch.full((size,), value))),)}, edits.describe(base, ["w"]))
        for value in (1.0, 2.0)
    ]


def killed(path: Path, both: list[edits.Edit], after: float) -> None:
    """Fork a writer, and kill it so many seconds after it has begun."""
    begun, begin = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begin, b".")
        for edit in cycle(both):
            edit.save(path)
    os.read(begun, 1)
    select.select([], [], [], after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(begun)
    os.close(begin)


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    source, both, path = random.Random(), made(50_000), folder / "edit.safetensors"
    whole = {b"".join(map(bytes, pack(edit))): i for i, edit in enumerate(both)}
    faults, inside, found, taken = [], 0, [0, 0], []
    for _ in range(9):
        start = time.perf_counter()
        both[0].save(path)
        taken.append(time.perf_counter() - start)
    for i in range(kills):
        killed(path, both[:: 1 if i % 2 else -1], source.uniform(0, WRITES * statistics.median(taken)))
        at = whole.get(path.read_bytes())
        if at is None:
            faults.append("the file is neither the old one nor the new one")
        else:
            found[at] += 1
            edits.load(path)
        for beside in set(folder.iterdir()) - {path}:
            if not (beside.name.startswith(f".{path.name}.") and beside.suffix == ".part"):
                faults.append(f"{beside.name} was left")
            inside += 1
            beside.unlink()
    sys.stdout.write(json.dumps({"kills": kills, "inside a write": inside, "found": found, "faults": faults}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
