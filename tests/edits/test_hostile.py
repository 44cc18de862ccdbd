"""Files that nobody should load: each is refused by an EditError that names the file, and by nothing else."""

import copy
import hashlib
import json
import os
import random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edits import EditError, Stack, compose, load
from edits.file import pack

DEEP = "[" * 100_000 + "]" * 100_000


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def assemble(header, data, pad=True):
    raw = header.encode() if isinstance(header, str) else header
    raw += b" " * (-len(raw) % 8 if pad else 0)
    return len(raw).to_bytes(8, "little") + raw + data


def sealed(record, entries, data):
    """A file of this record with a right seal: what a careful attacker writes."""
    unsealed = {**record, "seal": "0" * 64}
    raw = assemble(canonical({**entries, "__metadata__": {"edit": canonical(unsealed)}}), data)
    stated = {**record, "seal": hashlib.sha256(raw).hexdigest()}
    return assemble(canonical({**entries, "__metadata__": {"edit": canonical(stated)}}), data)


def taken_apart(raw):
    length = int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8 : 8 + length])
    return json.loads(entries.pop("__metadata__")["edit"]), entries, raw[8 + length :]


@pytest.fixture(scope="module")
def good(make):
    net = make.Net()
    one = make.edit(net, 1, ("linear", "gain"), upstream=["bias"], recipe={"a": [1.5]}, notes={"n": "x"})
    two = make.edit(net, 3, ("bias",), kinds=("slices",))
    return b"".join(bytes(chunk) for chunk in pack(compose([(one, 1.0), (two, 1.0)], notes={"k": 1})))


@pytest.fixture(scope="module")
def simple(make):
    generator = torch.Generator().manual_seed(0)
    low, rows = (
        make.low_rank((6, 5), (0,), (1,), 2, generator),
        make.operation((6, 5), generator, ("slices",)),
    )
    return b"".join(bytes(chunk) for chunk in pack(make.single(make.Net(), "linear", low, rows)))


@pytest.fixture
def refused(tmp_path):
    def check(raw, match=None):
        path = tmp_path / "hostile.safetensors"
        path.write_bytes(raw)
        with pytest.raises(EditError, match=match) as caught:
            load(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert message.isprintable()
        assert len(message) < 1000

    return check


def test_the_test_writer_writes_what_the_package_writes(good, simple):
    for raw in (good, simple):
        assert sealed(*taken_apart(raw)) == raw


def test_truncated_anywhere(good, refused):
    for length in [*range(0, 64), *range(64, len(good), 97), *range(len(good) - 16, len(good))]:
        refused(good[:length])


def test_any_flipped_byte(good, refused):
    source = random.Random(0)
    for at in [*range(0, 16), *source.sample(range(len(good)), 250), *range(len(good) - 16, len(good))]:
        flipped = bytearray(good)
        flipped[at] ^= 1 << source.randrange(8)
        refused(bytes(flipped))


def test_every_bit_of_the_seal_counts(good, refused):
    seal = taken_apart(good)[0]["seal"].encode()
    at = good.index(seal)
    for i in range(64):
        other = b"0" if good[at + i : at + i + 1] != b"0" else b"1"
        refused(good[: at + i] + other + good[at + i + 1 :], "seal")


def test_trailing_bytes(good, refused):
    for extra in (b"\0", b" ", good):
        refused(good + extra)


@pytest.mark.parametrize("length", [0, 1, 7, 2**23 + 8, 2**31, 2**63, 2**64 - 1])
def test_a_header_length_that_lies(good, refused, length):
    refused(length.to_bytes(8, "little") + good[8:])


def test_a_header_length_beyond_the_limit_is_refused_unread(refused, tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as stream:
        stream.write((2**40).to_bytes(8, "little"))
        stream.truncate(2**41)
    with pytest.raises(EditError, match="header claims"):
        load(path)


@pytest.mark.parametrize("raw", [b"", b"\0" * 8, b"\0" * 100, b"PK\x03\x04" + b"\0" * 60, b"{}" * 50], ids=repr)
def test_something_else_entirely(raw, refused):
    refused(raw)


def test_what_is_no_file(tmp_path):
    with pytest.raises(EditError, match="cannot be read"):
        load(tmp_path / "missing")
    with pytest.raises(EditError):
        load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        held = os.open(tmp_path / "pipe", os.O_RDWR)
        with pytest.raises(EditError, match="no regular file"):
            load(tmp_path / "pipe")
        os.close(held)


@pytest.mark.parametrize(
    "header",
    [DEEP, '{"a":' * 100 + "1" + "}" * 100, "[]", "null", "1", '"x"', "{", "{}", "NaN", "\ufeff{}",
     '{"__metadata__":{}}',
     '{"__metadata__":{"edit":1}}', '{"__metadata__":{"edit":"{}","format":"pt"}}', '{"__metadata__":"edit"}',
     '{"__metadata__":{"edit":"null"}}', '{"__metadata__":{"edit":"\\ud800"}}',
     '{"__metadata__":{"edit":""}}',
     '{"__metadata__":{"edit":"' + DEEP + '"}}', '"' + '\\"' * 200_000, '{"a":' + "9" * 5000 + "}"],
    ids=range(20),
)  # fmt: skip
def test_headers_that_are_no_description(header, refused):
    refused(assemble(header, b""))


def test_bytes_that_are_no_text(refused):
    refused(assemble(b'{"\xff":1}', b""))
    refused(assemble("{}".encode("utf-16"), b""))


def test_depth_is_found_without_recursion_and_brackets_in_strings_do_not_count(make, tmp_path):
    path = tmp_path / "edit"
    make.edit(make.Net(), 1, recipe={"[" * 500: '"' + "{" * 500 + "\\"}).save(path)
    assert load(path).recipe == {"[" * 500: '"' + "{" * 500 + "\\"}


def test_duplicate_keys_at_every_level(simple, refused):
    record, entries, data = taken_apart(simple)
    name = next(iter(entries))
    metadata = canonical({"edit": canonical(record)})
    text, entry = canonical(entries), canonical(entries[name])
    refused(assemble(f'{{"__metadata__":{metadata},"__metadata__":{metadata},{text[1:]}', data), "twice")
    refused(assemble(f'{{"__metadata__":{metadata},{json.dumps(name)}:{entry},{text[1:]}', data), "twice")
    refused(assemble(f'{{"__metadata__":{metadata[:-1]},{metadata[1:]},{text[1:]}', data), "twice")
    doubled = entry[:-1] + ',"dtype":"F32"}'
    refused(assemble(f'{{"__metadata__":{metadata},{text[1:].replace(entry, doubled)}', data), "twice")
    inner = canonical(record)
    for key in (
        '"content":',
        '"seal":',
        '"recipe":',
        '"base":',
        '"shape":',
        '"version":',
        '"linear":',
        '"float16":',
    ):
        at = inner.index(key)
        twice = inner[:at] + key + "null," + inner[at:]
        refused(assemble(canonical({**entries, "__metadata__": {"edit": twice}}), data), "twice")


def changed(raw, change):
    """The file with its record, entries or data changed in place, and sealed again."""
    record, entries, data = taken_apart(raw)
    file = SimpleNamespace(record=record, entries=entries, data=bytearray(data))
    change(file)
    return sealed(file.record, file.entries, bytes(file.data))


def of(name, **fields):
    return lambda file: file.entries[name].update(fields)


def entry(count, start):
    return {"dtype": "F32", "shape": [count], "data_offsets": [start, start + 4 * count]}


LEFT = "linear::0.left"
cases = {
    "no tensor": lambda f: f.entries.pop("linear::0.right"),
    "more tensors": lambda f: (f.entries.update(x=entry(1, len(f.data))), f.data.extend(b"\0" * 4)),
    "empty tensor": lambda f: f.entries.update(x=entry(0, len(f.data))),
    "dtype": of(LEFT, dtype="I32"),
    "dtype float16": of(LEFT, dtype="F16"),
    "dtype list": of(LEFT, dtype=["F32"]),
    "huge shape": of(LEFT, shape=[2**62, 2**62]),
    "huge number": of(LEFT, shape=[10**4000]),
    "many axes": of(LEFT, shape=[1] * 1000),
    "negative shape": of(LEFT, shape=[-6, -2]),
    "fraction": of(LEFT, shape=[6.0, 2]),
    "bool": of(LEFT, shape=[True]),
    "shape text": of(LEFT, shape="62"),
    "offsets": of(LEFT, data_offsets=[0, 2**63]),
    "offsets backwards": of(LEFT, data_offsets=[48, 0]),
    "offsets three": of(LEFT, data_offsets=[0, 8, 48]),
    "more fields": of(LEFT, note=1),
    "trailing data": lambda f: f.data.extend(b"\0" * 8),
    "less data": lambda f: f.data.__delitem__(slice(-4, None)),
    "newer version": lambda f: f.record["format"].update(version=2),
    "newer version, other fields":
        lambda f: (f.record["format"].update(version=2, more=1), f.record.pop("base")),
    "version 0": lambda f: f.record["format"].update(version=0),
    "version text": lambda f: f.record["format"].update(version="1"),
    "version true": lambda f: f.record["format"].update(version=True),
    "required feature": lambda f: f.record["format"].update(requires=["telepathy"]),
    "required nonsense": lambda f: f.record["format"].update(requires=[[]]),
    "more in format": lambda f: f.record["format"].update(x=1),
    "more in record": lambda f: f.record.update(x=1),
    "less in record": lambda f: f.record.pop("recipe"),
    "more in base": lambda f: f.record["base"].update(x=1),
    "more in operation": lambda f: f.record["operations"]["linear"][0].update(x=1),
    "kind": lambda f: f.record["operations"]["linear"][0].update(kind="multiply"),
    "form": lambda f: f.record["operations"]["linear"][0].update(form=[]),
    "axes": lambda f: f.record["operations"]["linear"][0].update(left_axes=[0, 1, 2]),
    "no operations": lambda f: f.record.update(operations={}),
    "content": lambda f: f.record.update(content="0" * 64),
    "content of another length": lambda f: f.record.update(content="0"),
    "content null": lambda f: f.record.update(content=None),
    "base digest": lambda f: f.record["base"]["touched"]["linear"].update(float16="x" * 64),
    "another base": lambda f: f.record["base"]["touched"]["linear"].update(float16="0" * 64),
    "strength infinite": lambda f: f.record.update(strength=1e308 * 10),
    "strength whole": lambda f: f.record.update(strength=1),
    "strength text": lambda f: f.record.update(strength="1"),
    "notes list": lambda f: f.record.update(notes=[]),
    "recipe deep": lambda f: f.record.update(recipe=json.loads("[" * 60 + "]" * 60)),
    "path-like name": lambda f: f.entries.update({"../../etc/passwd": f.entries.pop(LEFT)}),
    "empty name":
        lambda f: f.record["base"]["touched"].update({"": f.record["base"]["touched"].pop("linear")}),
    "control characters":
        lambda f: f.record["operations"].update({"\x1b[2J": f.record["operations"].pop("linear")}),
    "member of nothing": lambda f: f.record.update(members=[{}]),
    "members null": lambda f: f.record.update(members=None),
    "nan": lambda f: f.data.__setitem__(slice(-4, None), b"\0\0\xc0\x7f"),
    "infinity": lambda f: f.data.__setitem__(slice(-4, None), b"\0\0\x80\x7f"),
    "value": lambda f: f.data.__setitem__(slice(-4, None), b"\0\0\x80\x3f"),
}  # fmt: skip


@pytest.mark.parametrize("case", cases)
def test_a_careful_attacker_with_a_right_seal(simple, refused, case):
    refused(changed(simple, cases[case]))


def test_the_rule_that_was_broken_is_named(simple, refused):
    refused(changed(simple, cases["newer version"]), "format version 2; expected 1; update")
    refused(changed(simple, cases["newer version, other fields"]), "format version 2; expected 1; update")
    refused(changed(simple, cases["required feature"]), "'telepathy'.*update")
    refused(changed(simple, cases["nan"]), "NaN or infinity")
    refused(changed(simple, cases["value"]), "content is")
    refused(changed(simple, cases["dtype"]), "I32.*expected F32 or I64")


def test_offsets_with_a_gap_or_an_overlap(simple, refused):
    record, entries, data = taken_apart(simple)
    order = sorted(entries, key=lambda name: entries[name]["data_offsets"])
    for shift in (4, -4):
        moved = copy.deepcopy(entries)
        for name in order[1:]:
            moved[name]["data_offsets"] = [at + shift for at in moved[name]["data_offsets"]]
        refused(sealed(record, moved, data + b"\0" * max(shift, 0)), "without gap or overlap")


def test_tensors_in_another_order(simple, refused):
    record, entries, data = taken_apart(simple)
    order = sorted(entries, key=lambda name: entries[name]["data_offsets"], reverse=True)
    moved, rearranged = {}, b""
    for name in order:
        start, end = entries[name]["data_offsets"]
        moved[name] = {**entries[name], "data_offsets": [len(rearranged), len(rearranged) + end - start]}
        rearranged += data[start:end]
    refused(sealed(record, moved, rearranged), "canonical")


def test_the_same_edit_written_differently(simple, refused):
    record, entries, data = taken_apart(simple)
    whole = {**entries, "__metadata__": {"edit": canonical(record)}}
    refused(assemble(json.dumps(whole, sort_keys=True), data), "canonical")
    refused(assemble(" " + canonical(whole), data), "canonical")
    refused(assemble(canonical(whole) + " " * 8, data), "canonical")
    refused(assemble(json.dumps(whole, separators=(",", ":")), data), "canonical")
    spaced = {**entries, "__metadata__": {"edit": json.dumps(record, sort_keys=True)}}
    refused(assemble(canonical(spaced), data), "canonical")


def test_too_many_tensors(refused):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = {f"{i}": entry for i in range(65_537)} | {"__metadata__": {"edit": "{}"}}
    refused(assemble(canonical(header), b""), "65536 tensors")


def test_a_path_like_parameter_is_only_a_key(make, tmp_path):
    name = "../../escaped"
    edit = make.single({name: torch.ones(2)}, name, make.low_rank((2,), (0,), (), 1, torch.Generator().manual_seed(0)))
    (tmp_path / "a" / "b").mkdir(parents=True)
    edit.save(tmp_path / "a" / "b" / "edit")
    again = load(tmp_path / "a" / "b" / "edit")
    with pytest.raises(EditError, match=r"no parameter '\.\./\.\./escaped'"):
        Stack(make.Net()).push(again)
    assert {p.name for p in tmp_path.rglob("*")} == {"a", "b", "edit"}


def places(value, at=()):
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*at, key))


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.just([]), st.just({}),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.lists(st.integers(-1, 7), max_size=3),
    st.just([[]]), st.just("0" * 64), st.just(10**400),
)  # fmt: skip


@given(data=st.data(), junk=JUNK)
@settings(max_examples=300, deadline=None)
def test_junk_anywhere_in_a_sealed_record_is_an_edit_error_or_the_same_bytes(good, tmp_path_factory, data, junk):
    record, entries, tensors = taken_apart(good)
    *way, last = data.draw(st.sampled_from([place for place in places(record) if place]))
    target = record
    for key in way:
        target = target[key]
    target[last] = junk
    path = tmp_path_factory.getbasetemp() / "junk"
    path.write_bytes(sealed(record, entries, tensors))
    try:
        edit = load(path)
    except EditError as error:
        message = str(error)
    else:
        message = ""
        assert b"".join(bytes(chunk) for chunk in pack(edit)) == path.read_bytes()
    assert not message or message.isprintable()


@given(raw=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_noise(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(assemble(raw, b""))
    with pytest.raises(EditError):
        load(path)
