"""Files made to do harm, and damaged ones: refused in a sentence or read, and nothing in them ever runs."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layouts import hostile, nvidia
from safetensors.torch import save

from rewrite.checkpoints.pickled.constructors import Constructors
from rewrite.checkpoints.pickled.effort import Effort

CASES = hostile.cases()
LAYOUTS = Path(__file__).parent / "layouts"
MUTANTS = 150
SLOWEST = 20


def tensors() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.ones(2, 2), "b": torch.zeros(3)}


def sound() -> dict[str, bytes]:
    """One small file of each kind that a stranger may hand over."""
    zipped, stream, packed, small = io.BytesIO(), io.BytesIO(), io.BytesIO(), nvidia.network(tensors(), x=1)
    torch.save({"g_ema": tensors(), "step": 3}, zipped)
    torch.save({"g_ema": tensors()}, stream, _use_new_zipfile_serialization=False)
    np.savez_compressed(packed, **{name: tensor.numpy() for name, tensor in tensors().items()})
    return {
        "sound.pkl": nvidia.dumps({"training_set_kwargs": None, "G_ema": small}, 4),
        "sound-snapshot.pkl": nvidia.snapshot(),
        "sound2.pkl": nvidia.dumps({"G_ema": small}, 2),
        "sound-tf.pkl": nvidia.tensorflow(),
        "sound.pt": zipped.getvalue(),
        "sound-old.pt": stream.getvalue(),
        "sound.safetensors": save(tensors()),
        "sound.npz": packed.getvalue(),
    }


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """What the child told; it must not have crashed, and must have left nothing behind."""
    environment = os.environ | {"PYTHONPATH": str(LAYOUTS.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, LAYOUTS / "child.py", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (folder / "ran").exists()
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder, place = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("place")
    for name, content in sound().items():
        (folder / name).write_bytes(content)
    for i, (content, _) in enumerate(CASES.values()):
        (folder / f"{i:03}.pkl").write_bytes(content)
    return run(place, "read", str(folder))


def test_none_of_them_makes_python_do_anything(outcomes: dict[str, Any]) -> None:
    assert outcomes["events"] == []
    assert len(outcomes["told"]) == len(CASES) + len(sound())
    assert max(told["seconds"] for told in outcomes["told"]) < SLOWEST


@pytest.mark.parametrize(("name", "number"), [(name, i) for i, name in enumerate(CASES)])
def test_each_is_refused_with_the_reason_or_read(name: str, number: int, outcomes: dict[str, Any]) -> None:
    (told,) = (told for told in outcomes["told"] if told["file"] == f"{number:03}.pkl")
    reason = CASES[name][1]
    assert told["outcome"] == ("read" if reason is None else "refused"), told
    if reason is not None:
        assert re.search(reason, told["said"]), told
        assert "\n" not in told["said"]
        assert len(told["said"]) < 1000


def test_a_thousand_mutants_are_refused_or_read(tmp_path: Path) -> None:
    for name, content in sound().items():
        (tmp_path / name).write_bytes(content)
    told = run(tmp_path, "mutate", str(tmp_path), str(MUTANTS))
    assert told["events"] == []
    assert len(told["told"]) == MUTANTS * len(sound()) > 1000
    for name in sound():
        outcomes = {one["outcome"] for one in told["told"] if one["of"] == name}
        assert "refused" in outcomes, f"no mutant of {name} was found out"
    assert all("\n" not in one["said"] for one in told["told"])


def test_the_hook_would_notice(tmp_path: Path) -> None:
    """A control: an ordinary reader of the same bytes does what they say."""
    content = CASES["call os.system"][0]
    done = subprocess.run(
        [sys.executable, "-c", "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"],
        input=content, cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert (tmp_path / "ran").exists() or done.returncode


def test_effort_is_spent_by_what_is_nested_too() -> None:
    outer = Constructors(Effort(10))
    assert outer.inner().effort is outer.effort
