"""Reads files in a process of its own, with little memory and time, and tells what Python was asked to do meanwhile.

Arguments: a folder of files, or "mutate", a folder of sound files, and how many mutants of each to read. Prints JSON:
what became of each file, and the audit events that no reader should cause.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from rewrite.checkpoints.read import read
from rewrite.errors import RewriteError
from rewrite.models import recognise

MEMORY = 6 * 2**30
SECONDS = 400
FORBIDDEN = (
    "import", "exec", "compile", "code.__new__", "marshal.", "pickle.", "subprocess.", "os.system", "os.exec",
    "os.fork", "os.spawn", "os.posix_spawn", "os.remove",
    "os.rename", "os.mkdir", "socket.", "urllib.", "ctypes.", "shutil.",
    "webbrowser.", "ftplib.", "smtplib.", "mmap.resize", "function.__new__", "sys.settrace",
)  # fmt: skip


def attempt(path: Path) -> dict[str, Any]:
    began = time.process_time()
    told = {"file": path.name, "outcome": "read", "said": ""}
    try:
        foreign = read(path)
        for network in foreign.networks.values():
            for tensor in network.tensors.values():
                tensor.float().sum()
        recognise(foreign)
    except RewriteError as error:
        told |= {"outcome": "refused", "said": str(error)}
    return told | {"seconds": time.process_time() - began}


def mutants(content: bytes, count: int, seed: int) -> list[bytes]:
    """Bytes changed, cut, doubled, swapped; most near the beginning or around opcodes, where structure lies."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        mutant = bytearray(content)
        for _ in range(draw.choice((1, 1, 2, 4, 16))):
            at = draw.randrange(len(mutant)) if mutant else 0
            match draw.randrange(6):
                case 0:
                    mutant[at : at + 1] = bytes([draw.randrange(256)])
                case 1 if mutant:
                    mutant[at] ^= 1 << draw.randrange(8)
                case 2:
                    del mutant[at : at + draw.choice((1, 4, 100))]
                case 3:
                    mutant[at:at] = bytes(
                        draw.choices(
                            b"(.0123]})abceghjlopqrstuKMJBXCGNRQ\x80\x81\x85\x86\x87\x93\x94", k=draw.choice((1, 3))
                        )
                    )
                case 4:
                    mutant[at:at] = mutant[at : at + draw.choice((2, 50))]
                case _:
                    mutant[at : at + 8] = draw.choice((b"\xff" * 8, bytes(8), b"\x7f" + bytes(7), b"\xff\xff\xff\x7f"))
        found.append(bytes(mutant))
    return found


def main(what: str, *arguments: str) -> None:
    torch.set_num_threads(1)
    events: list[str] = []

    def hook(event: str, args: Any) -> None:
        writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if watching and (event.startswith(FORBIDDEN) or writes):
            events.append(f"{event} {args!r:.200}")

    watching = False
    sys.addaudithook(hook)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    folder = Path(arguments[0])
    told = []
    repr(torch.ones(2))  # Torch imports what it prints a tensor with when it first does.
    sound = sorted(folder.glob("sound*"))
    for path in sound:
        # What readers import at first use, they import now.
        assert attempt(path)["outcome"] == "read", attempt(path)
    if what == "mutate":
        target = folder / "mutant"
        for i, path in enumerate(sound):
            for mutant in mutants(path.read_bytes(), int(arguments[1]), i):
                target.write_bytes(mutant)
                watching = True
                told.append(attempt(target) | {"of": path.name})
                watching = False
    else:
        watching = True
        told = [attempt(path) for path in sorted(folder.iterdir())]
        watching = False
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({"told": told, "events": events, "peak": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
