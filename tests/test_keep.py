"""What is kept is found again under the same conditions, and damage is only a slower start."""

from __future__ import annotations

import os

import pytest
import torch

from rewrite import keep

TENSORS = {"a": torch.arange(6.0).reshape(2, 3).T, "b/c": torch.tensor(7)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path))


def test_what_is_kept_is_read_again(tmp_path) -> None:
    path = keep.place("room", 1, {"x": 1})
    assert path.parent == tmp_path / "room"
    assert keep.read(path) is None
    keep.write(path, TENSORS)
    found = keep.read(path)
    assert found is not None
    assert keep.digest(found) == keep.digest(TENSORS)


def test_other_conditions_lie_elsewhere() -> None:
    threads = torch.get_num_threads()
    places = {keep.place("room", 1, {"x": 1}), keep.place("room", 2, {"x": 1}), keep.place("room", 1, {"x": 2})}
    torch.set_num_threads(threads + 1)
    try:
        places.add(keep.place("room", 1, {"x": 1}))
    finally:
        torch.set_num_threads(threads)
    assert len(places) == 4


def test_a_full_room_loses_what_was_used_least_lately(monkeypatch) -> None:
    first, second, third, fourth = (keep.place("room", 1, {"x": x}) for x in range(4))
    for age, path in ((3, first), (2, second), (1, third)):
        keep.write(path, TENSORS)
        os.utime(path, (1e9 - age, 1e9 - age))
    assert keep.read(first) is not None
    monkeypatch.setattr(keep, "ROOM", 3 * first.stat().st_size)
    keep.write(fourth, TENSORS)
    assert [path.exists() for path in (first, second, third, fourth)] == [True, False, True, True]
    monkeypatch.setattr(keep, "ROOM", 0)
    keep.write(third, TENSORS)
    assert [path.exists() for path in (first, third, fourth)] == [False, True, False]


def test_what_cannot_be_written_is_not_kept(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "file"))
    path = keep.place("room", 1, {})
    keep.write(path, TENSORS)
    assert keep.read(path) is None


def test_what_is_damaged_is_nothing() -> None:
    path = keep.place("room", 1, {})
    keep.write(path, TENSORS)
    data = bytearray(path.read_bytes())
    for at in (5, len(data) // 2, len(data) - 2):
        spoiled = bytearray(data)
        spoiled[at] ^= 1
        path.write_bytes(spoiled)
        assert keep.read(path) is None
    path.write_bytes(data[:-1])
    assert keep.read(path) is None


def test_a_digest_tells_names_shapes_types_and_values() -> None:
    a = torch.zeros(4)
    others = ({"b": a}, {"a": a.reshape(2, 2)}, {"a": a.int()}, {"a": -a}, {})
    assert len({keep.digest(one) for one in ({"a": a}, *others)}) == 6
