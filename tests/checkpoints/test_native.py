"""Our own checkpoints: one form for one network, and one sentence for every file that is not in it."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from rewrite.checkpoints import native
from rewrite.errors import RewriteError

GIVEN = native.Checkpoint(
    family="dcgan",
    geometry={"z": 4, "channels": [8, 3]},
    card={"licence": "free, ünd mehr", "origin": "here"},
    tensors={"b": torch.arange(6.0).view(2, 3), "a": torch.tensor([1.0]), "c": torch.randn(3, 5)},
    history=[{"content": "abc", "strength": 0.5}],
)


def packed(checkpoint: native.Checkpoint = GIVEN) -> bytes:
    return b"".join(native.encode(checkpoint))


def taken_apart(content: bytes | None = None) -> tuple[dict, bytes]:
    content = packed() if content is None else content
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header: object, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_what_was_written_is_read(tmp_path: Path) -> None:
    native.write(tmp_path / "deep" / "er.safetensors", GIVEN)
    read = native.read(tmp_path / "deep" / "er.safetensors")
    assert (read.family, read.geometry, read.card, read.history) == (
        GIVEN.family,
        GIVEN.geometry,
        GIVEN.card,
        GIVEN.history,
    )
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in GIVEN.tensors.items())
    assert packed(read) == (tmp_path / "deep" / "er.safetensors").read_bytes()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er.safetensors"]


def test_bytes_do_not_depend_on_order_layout_or_process() -> None:
    swapped = native.Checkpoint(
        GIVEN.family,
        dict(reversed(GIVEN.geometry.items())),
        dict(reversed(GIVEN.card.items())),
        {name: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor for name, tensor in GIVEN.tensors.items()},
        GIVEN.history,
    )
    assert packed(swapped) == packed()
    code = (
        "import torch, hashlib; from rewrite.checkpoints import native as n;"
        "c = n.Checkpoint('f', {'z': 1}, {'x': 'y'}, {'t': torch.arange(3.), 's': torch.ones(2, 2)});"
        "print(hashlib.sha256(b''.join(n.encode(c))).hexdigest())"
    )
    here = native.Checkpoint("f", {"z": 1}, {"x": "y"}, {"s": torch.ones(2, 2), "t": torch.arange(3.0)})
    there = subprocess.check_output([sys.executable, "-c", code], text=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert there.strip() == hashlib.sha256(packed(here)).hexdigest()


def test_other_readers_open_it(tmp_path: Path) -> None:
    native.write(tmp_path / "x.safetensors", GIVEN)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("b"), GIVEN.tensors["b"])
        assert list(file.metadata()) == [native.KEY]


def test_tensors_do_not_share_storage() -> None:
    tensors = native.decode(packed()).tensors.values()
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)


@pytest.mark.parametrize("tensor", [torch.tensor([1.0, float("nan")]), torch.tensor([float("inf")])])
def test_numbers_that_are_none_are_refused(tensor: torch.Tensor) -> None:
    broken = native.Checkpoint("dcgan", {}, {}, {"weight": tensor})
    with pytest.raises(RewriteError, match=r"weight in .* NaN or infinity"):
        native.encode(broken)
    body = packed(native.Checkpoint("dcgan", {}, {}, {"weight": torch.zeros_like(tensor)}))
    with pytest.raises(RewriteError, match="NaN or infinity"):
        native.decode(body[: -4 * tensor.numel()] + tensor.numpy().tobytes())


def test_other_types_are_refused() -> None:
    with pytest.raises(RewriteError, match="float32"):
        native.encode(native.Checkpoint("dcgan", {}, {}, {"weight": torch.ones(2).half()}))


def hostile() -> dict[str, tuple[bytes, str]]:
    header, body = taken_apart()
    facts = json.loads(header["__metadata__"][native.KEY])

    def altered(**changes: object) -> bytes:
        return put_together(header | {"__metadata__": {native.KEY: json.dumps(facts | changes)}}, body)

    spaced = put_together(json.dumps(header, indent=1).encode(), body)
    moved = json.loads(json.dumps(header))
    moved["a"]["data_offsets"] = [8, 12]
    huge = json.loads(json.dumps(header))
    huge["a"]["shape"] = [2**39, 2**39]
    nested = put_together(b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"")
    return {
        "empty": (b"", "not a checkpoint"),
        "text": (b"hello, this is a letter", "not a checkpoint"),
        "zip": (b"PK\x03\x04" + bytes(100), "not a checkpoint"),
        "long header": ((2**40).to_bytes(8, "little") + b"{}", "not a checkpoint"),
        "cut in the header": (packed()[:40], "cut short"),
        "cut in a tensor": (packed()[:-3], "cut short or padded"),
        "padded": (packed() + b"\0", "cut short or padded"),
        "no metadata": (put_together({}, b""), "not a checkpoint of this program"),
        "a list": (put_together(b"{]", b""), "not a checkpoint of this program"),
        "deep": (nested, "not a checkpoint of this program"),
        "other metadata": (
            put_together({"__metadata__": {"format": "pt"}}, b""),
            "not a checkpoint of this program",
        ),
        "future": (altered(format=2, shiny=1), "format 2"),
        "unknown fact": (altered(shiny=1), "not a checkpoint of this program"),
        "family": (altered(family=3), "altered|family"),
        "spaced": (spaced, "would not have written"),
        "moved": (put_together(moved, body), "would not have written"),
        "huge": (put_together(huge, body), "would not have written"),
        "twice": (put_together(b'{"a":1,"a":1}', b""), "not a checkpoint of this program"),
        "binary": (put_together(b"{\xff\xfe}", b""), "not a checkpoint of this program"),
    }


@pytest.mark.parametrize("case", hostile())
def test_hostile_files_get_one_sentence(case: str, tmp_path: Path) -> None:
    content, reason = hostile()[case]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(RewriteError, match=reason) as caught:
        native.read(tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="cannot read"):
        native.read(tmp_path / "none")


@settings(deadline=None, max_examples=150)
@given(st.integers(0, len(packed()) - 1), st.integers(1, 255))
def test_no_flipped_byte_of_the_header_goes_unnoticed_or_crashes(place: int, flip: int) -> None:
    content = bytearray(packed())
    content[place] ^= flip
    try:
        read = native.decode(bytes(content))
    except RewriteError:
        return
    assert packed(read) == bytes(content)


def test_fill_says_which_tensor_is_wrong() -> None:
    module = torch.nn.Linear(2, 3, device="meta")
    weight, bias = torch.ones(3, 2), torch.ones(3)
    for tensors, reason in (
        ({"weight": weight}, "lacks 1 of 2 tensors, among them bias"),
        ({"weight": weight, "bias": bias, "more": bias}, "among them more"),
        ({"weight": weight.t(), "bias": bias}, r"weight of shape \(2, 3\)"),
    ):
        with pytest.raises(RewriteError, match=reason):
            native.fill(module, tensors, "x")
    native.fill(module, {"weight": weight, "bias": bias}, "x")
    assert torch.equal(module(torch.ones(1, 2)), torch.full((1, 3), 3.0))


def test_a_flipped_bit_of_the_weights_is_found() -> None:
    for place in range(1, len(taken_apart()[1]) + 1, 4):
        content = bytearray(packed())
        content[-place] ^= 1
        with pytest.raises(RewriteError, match=r"a bit was flipped|NaN"):
            native.decode(bytes(content))


def test_a_checkpoint_without_a_digest_is_refused() -> None:
    header, body = taken_apart()
    facts = json.loads(header["__metadata__"][native.KEY])
    del facts["data"]
    with pytest.raises(RewriteError, match="does not hold the SHA-256 of its weights"):
        native.decode(put_together(header | {"__metadata__": {native.KEY: json.dumps(facts)}}, body))


def test_a_file_much_larger_than_its_header_says_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.write_bytes(packed())
    os.truncate(path, 40 * 2**30)
    with pytest.raises(RewriteError, match="cut short or padded"):
        native.read(path)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(RewriteError, match="no regular file"):
            native.read(path)


@pytest.mark.parametrize(
    "entry", [{}, {"content": 3, "strength": 1}, {"content": "a"}, {"content": "a", "strength": "x"}, "a",
              {"content": "a", "strength": True}, {"content": "a", "strength": float("inf")}],
)  # fmt: skip
def test_what_was_baked_in_has_a_name_and_a_strength(entry: object) -> None:
    with pytest.raises(RewriteError, match="what was baked into it"):
        native.encode(native.Checkpoint("dcgan", {}, {}, {}, [entry]))  # type: ignore[list-item]


def test_half_precision_is_stored_in_half_the_room_and_read_as_float32() -> None:
    rounded = native.halved(GIVEN)
    content = packed(rounded)
    read = native.decode(content)
    assert read.half
    assert all(tensor.dtype == torch.float32 for tensor in read.tensors.values())
    assert all(torch.equal(read.tensors[name], tensor.half().float()) for name, tensor in GIVEN.tensors.items())
    assert packed(read) == content
    assert len(content) - 8 - int.from_bytes(content[:8], "little") == 2 * sum(
        t.numel() for t in GIVEN.tensors.values()
    )
    assert {entry["dtype"] for name, entry in taken_apart(content)[0].items() if name != "__metadata__"} == {"F16"}


def test_half_precision_never_rounds_by_itself() -> None:
    read = native.decode(packed(replace(GIVEN, half=True)))
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in GIVEN.tensors.items())
    with pytest.raises(RewriteError, match="b in the rounded checkpoint holds NaN or infinity"):
        native.halved(replace(GIVEN, tensors={"b": torch.tensor([1e6])}))


def test_tensors_that_are_spared_stay_whole_beside_rounded_ones() -> None:
    (first, *others) = sorted(GIVEN.tensors)
    given = replace(GIVEN, tensors={name: torch.randn(3, 5) for name in (first, *others)})
    content = packed(native.halved(given, spared=lambda name: name == first))
    dtypes = {name: entry["dtype"] for name, entry in taken_apart(content)[0].items() if name != "__metadata__"}
    assert dtypes == {first: "F32"} | dict.fromkeys(others, "F16")
    read = native.decode(content)
    assert torch.equal(read.tensors[first], given.tensors[first])
    assert all(torch.equal(read.tensors[name], given.tensors[name].half().float()) for name in others)
    assert packed(read) == content


@pytest.mark.parametrize("lie", [False, 1, "yes", None])
def test_a_file_does_not_lie_about_its_precision(lie: object) -> None:
    header, body = taken_apart(packed(native.halved(GIVEN)))
    facts = json.loads(header["__metadata__"][native.KEY]) | {"half": lie}
    header["__metadata__"][native.KEY] = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    with pytest.raises(RewriteError, match=r"header that rewrite would not have written|not a checkpoint"):
        native.decode(put_together(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode(), body))
