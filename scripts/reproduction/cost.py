"""Time and memory of the command itself, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewrite.errors import RewriteError
from rewrite.home import home

PROBE = """
import json, resource, sys
from pathlib import Path
from rewrite.cli.app import run
code, status = run(sys.argv[2:]), Path("/proc/self/status")
if status.exists():
    peak = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
Path(sys.argv[1]).write_text(json.dumps({"code": code, "peak": peak}))
"""
"""Runs the command and writes down its exit code and the most memory that its process ever held.

What the system counts for a child includes the memory of the parent that it was forked from; VmHWM does not."""
LARGE = 2**20
VERDICTS = {0: "PASS", 1: "FAIL", 3: "MORE"}


@dataclass(frozen=True)
class Run:
    """One `rewrite check`, from the start of the process to its end."""

    what: str
    seconds: float
    peak: float
    """Bytes."""
    verdict: str

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self)


def runs(model: str, edit: Path, *, samples: int, repeats: int, threads: int) -> list[Run]:
    """A cold run, which finds nothing byte-compiled and few files in memory, and some warm ones.

    The model is pulled already: what the network takes is not counted. A check keeps no statistics.
    """
    with tempfile.TemporaryDirectory() as folder:
        _forget()
        # Empty at the cold run, and filled by it.
        compiled = Path(folder)
        cold = run("cold", model, edit, samples=samples, threads=threads, compiled=compiled)
        every = range(repeats)
        return [cold, *(run("warm", model, edit, samples=samples, threads=threads, compiled=compiled) for _ in every)]


def run(what: str, model: str, edit: Path, *, samples: int, threads: int, compiled: Path | None = None) -> Run:
    """One check in a process of its own; `compiled` is where Python keeps byte-compiled modules, if not as usual.

    RewriteError if it comes to no verdict.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    environment |= {"PYTHONPYCACHEPREFIX": str(compiled)} if compiled else {}
    with tempfile.TemporaryDirectory() as folder:
        report, out = Path(folder, "report.json"), Path(folder, "verdict")
        check = ["check", model, str(edit), "--samples", str(samples), "--cap", str(samples), "--out", str(out)]
        asked = [sys.executable, "-c", PROBE, str(report), *check]
        started = time.perf_counter()
        done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        told = json.loads(report.read_text()) if report.exists() else {"code": done.returncode}
    if told["code"] not in VERDICTS or "peak" not in told:
        raise RewriteError(f"rewrite check ended with code {told['code']}: {done.stderr.strip()[-500:]}")
    return Run(what, seconds, told["peak"], VERDICTS[told["code"]])


def _forget() -> None:
    """Ask the system to drop libraries, models and weights from its cache of files; those in use stay."""
    if not hasattr(os, "posix_fadvise"):
        return
    for folder in (Path(sysconfig.get_path("purelib")), home()):
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_size > LARGE:
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
