"""Archives of torch.save: tensors come out, code never runs."""

import io
import os
import pickle
import zipfile
from argparse import Namespace
from typing import Any

import pytest
import torch

from rewrite.checkpoints import torch_zip
from rewrite.errors import RewriteError


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


class Payload:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_a_state_dict_is_unwrapped_and_loses_its_prefix() -> None:
    content = saved({"g_ema": {"module.a": torch.ones(2), "module.b": torch.zeros(1)}, "step": 3})
    found = torch_zip.tensors(content, "missing", "g_ema")
    assert list(found) == ["a", "b"]
    assert torch.equal(found["a"], torch.ones(2))
    assert list(torch_zip.tensors(saved({"a": torch.ones(1), "module.b": torch.ones(1)}))) == [
        "a",
        "module.b",
    ]


@pytest.mark.parametrize("value", [Payload(), {"w": Payload()}, Namespace(a=1), torch.nn.Linear(1, 1)])
def test_code_is_refused_and_does_not_run(value: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RewriteError, match="more than tensors") as caught:
        torch_zip.read(saved(value))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files_get_one_sentence() -> None:
    good = saved({"w": torch.randn(100)})
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("letter.txt", "dear reader")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    for content, reason in (
        (b"", "not a torch archive"),
        (pickle.dumps({"w": 1}), "not a torch archive"),
        (good[: len(good) // 2], "damaged"),
        (b"PK\x03\x04" + bytes(50), "damaged"),
        (other.getvalue(), "damaged"),
        (bomb.getvalue(), "unpacks"),
    ):
        with pytest.raises(RewriteError, match=reason) as caught:
            torch_zip.read(content, "it")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [[torch.ones(1)], {}, {"w": 1}, {1: torch.ones(1)}])
def test_what_is_no_state_dict_is_refused(value: Any) -> None:
    with pytest.raises(RewriteError, match="no state dict"):
        torch_zip.tensors(saved(value), "g_ema")
