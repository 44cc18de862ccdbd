import builtins
import errno
import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import edits
from edits import EditError, compose, load
from edits.file import pack, read_regular, write_atomically

FACTS = {
    "strength": 0.0,
    "recipe": {
        "paste": [1, 2.5, -0.0, 1e-300, 10**30],
        "text": 'é \u2028 " \\ \x00 \U0001f600',
        "none": None,
        "yes": True,
    },
    "made_by": {"name": "tests", "version": "1"},
    "notes": {"seal": "0" * 64, "edit": '{"seal":"' + "0" * 64 + '"}'},
}


def written(edit):
    return b"".join(bytes(chunk) for chunk in pack(edit))


def examples(make, net):
    one, two = (
        make.edit(net, 1, ("linear", "conv", "gain"), upstream=["bias"], **FACTS),
        make.edit(net, 2, ("modulated",)),
    )
    return {
        "plain": one,
        "small": two,
        "composed": compose([(one, 1.0), (two, 1.0)], recipe={"a": 1}, notes={"b": [2]}),
    }


@pytest.mark.parametrize("which", ["plain", "small", "composed"])
def test_save_load_save_is_byte_identical(make, net, tmp_path, which):
    edit = examples(make, net)[which]
    edit.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    for name in ("content", "strength", "recipe", "made_by", "notes", "base", "touched"):
        assert getattr(again, name) == getattr(edit, name), name
    for (member, coefficient), (other, same) in zip(edit.members, again.members, strict=True):
        assert (member.content, member.recipe, coefficient) == (other.content, other.recipe, same)
    for name, tensor in edit.tensors().items():
        assert torch.equal(tensor, again.tensors()[name])
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "b.safetensors"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(seed=st.integers(0, 10**6), recipe=JSON, name=st.text(min_size=1).filter(str.isprintable))
@settings(max_examples=60, deadline=None)
def test_any_recipe_and_any_name_round_trip(make, tmp_path_factory, seed, recipe, name):
    net = {name: torch.ones(2, 3)}
    generator = torch.Generator().manual_seed(seed)
    path = tmp_path_factory.mktemp("any") / "edit.safetensors"
    base = edits.describe(net, [name])
    edit = edits.Edit({name: (make.operation((2, 3), generator),)}, base, recipe=recipe, notes={"all": recipe})
    edit.save(path)
    again = load(path)
    assert again.recipe == edit.recipe
    assert written(again) == path.read_bytes()


@pytest.mark.parametrize("which", ["plain", "small", "composed"])
def test_stock_safetensors_reads_it(make, net, tmp_path, which):
    edit, path = examples(make, net)[which], tmp_path / "edit.safetensors"
    edit.save(path)
    expected = edit.tensors()
    for member, _ in edit.members:
        expected |= {f"{member.content}!{name}": tensor for name, tensor in member.tensors().items()}
    with safe_open(path, framework="pt") as stock:
        assert set(stock.keys()) == set(expected)
        assert all(torch.equal(stock.get_tensor(name), tensor) for name, tensor in expected.items())
        assert json.loads(stock.metadata()["edit"])["content"] == edit.content


def test_names_in_the_file(make, net, tmp_path):
    add = make.low_rank((6, 5), (0,), (1,), 2, torch.Generator().manual_seed(0))
    edit = make.single(net, "linear", add, edits.Scale((6, 5), 0, torch.tensor([1]), torch.zeros(1)))
    assert set(edit.tensors()) == {
        "linear::0.left",
        "linear::0.right",
        "linear::1.index",
        "linear::1.factors",
    }


def test_seal_is_the_digest_of_the_whole_file_with_its_digits_zero(make, net):
    edit = examples(make, net)["small"]
    data = written(edit)
    text = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["edit"]
    seal = json.loads(text)["seal"]
    assert data.count(seal.encode()) == 1
    assert hashlib.sha256(data.replace(seal.encode(), b"0" * 64)).hexdigest() == seal


def test_layout_is_canonical_padded_and_aligned(make, net):
    data = written(examples(make, net)["plain"])
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    records = json.loads(header)
    canonical = json.dumps(records, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert length % 8 == 0
    assert header == canonical.ljust(length)
    assert length - len(canonical) < 8
    assert set(records.pop("__metadata__")) == {"edit"}
    for record in records.values():
        assert record["data_offsets"][0] % {"I64": 8, "F32": 4}[record["dtype"]] == 0


def test_what_is_said_about_an_edit_changes_the_seal_and_not_the_content(make, net):
    plain, told = make.edit(net, 1), make.edit(net, 1, notes={"a": 1})
    assert plain.content == told.content
    assert written(plain) != written(told)


PROGRAM = """
import sys, torch, edits
net = {"w": torch.arange(12.0).reshape(3, 4), "up": torch.ones(2)}
low = edits.LowRank(torch.ones(3, 1), torch.ones(1, 4), (0,), (1,))
base = edits.describe(net, {"w"}, {"up"})
one = edits.Edit({"w": (edits.Add((3, 4), low),)}, base, notes=dict.fromkeys("abcdef"))
scale = edits.Scale((2,), 0, torch.tensor([1]), torch.zeros(1))
two = edits.Edit({"up": (scale,)}, edits.describe(net, {"up"}))
edits.compose([(one, 0.5), (two, 1.0)]).save(sys.argv[1])
"""


def test_two_processes_write_the_same_file(tmp_path):
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / seed)], check=True, env=environment)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def failing(monkeypatch, where, error):
    """Make one step of the writer raise."""

    def fail(*_):
        raise error

    class Stream:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.stream.close()

        def write(self, data):
            self.stream.write(bytes(data)[:3])
            raise error

    if where == "write":
        real = builtins.open
        monkeypatch.setattr(builtins, "open", lambda path, mode="r", *a, **k: Stream(real(path, mode, *a, **k)))
    else:
        monkeypatch.setattr(os, where, fail)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device"), MemoryError()]
)
@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file(make, net, tmp_path, monkeypatch, where, error):
    path = tmp_path / "edit.safetensors"
    make.edit(net, 1).save(path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        failing(patch, where, error)
        with pytest.raises(EditError if isinstance(error, OSError) else type(error)) as caught:
            make.edit(net, 2).save(path)
    if isinstance(error, OSError):
        assert str(path) in str(caught.value)
        assert "No space left" in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_an_exception_among_the_chunks_leaves_the_old_file(tmp_path):
    path = tmp_path / "any"
    path.write_bytes(b"old")

    def chunks():
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, chunks())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["any"]
    write_atomically(path, b"new")
    write_atomically(path, [b"ne", memoryview(b"wer")])
    assert path.read_bytes() == b"newer"


@pytest.mark.parametrize("where", ["no/such/folder/edit", ".", "", "folder"])
def test_a_place_that_cannot_be_written_is_told(make, net, tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(EditError):
        make.edit(net, 1).save(where)
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(not hasattr(os, "umask"), reason="no file modes here")
def test_the_file_gets_ordinary_permissions(make, net, tmp_path):
    make.edit(net, 1).save(tmp_path / "edit")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "edit").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_edit_beyond_the_limits_is_refused_before_writing(make, net, tmp_path):
    with pytest.raises(EditError, match="shorten the recipe"):
        make.edit(net, 1, recipe="x" * 9_000_000).save(tmp_path / "edit")
    assert not os.listdir(tmp_path)


def test_overwriting_a_file_while_its_edit_is_in_use(make, net, tmp_path):
    path = tmp_path / "edit"
    make.edit(net, 1).save(path)
    edit = load(path)
    content = edit.content
    make.edit(net, 2).save(path)
    edit.save(path)
    assert load(path).content == content


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    for data in (b"new", b"newer"):
        write_atomically(tmp_path / "link", data)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there" / "file").read_bytes() == data


def test_what_is_no_regular_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to pipe").symlink_to(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted((path.name, path.lstat().st_ino) for path in tmp_path.iterdir())
    for name in ("pipe", "to pipe", "loop", "..", "a\0b"):
        with pytest.raises(EditError, match="is not the name of a file"):
            write_atomically(tmp_path / name, b"new")
    assert sorted((path.name, path.lstat().st_ino) for path in tmp_path.iterdir()) == before


def test_only_regular_files_are_read_and_only_so_much(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "file", "more than 4 bytes"),
        (tmp_path / "pipe", "no regular file"),
        (tmp_path, "no regular file"),
        ("/dev/zero", "no regular file"),
        ("a\0b", "no file can have this name"),
    ):
        with pytest.raises(OSError, match=reason):
            read_regular(path, 4)


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EditError, match="no regular file"):
        load(tmp_path / "pipe")
