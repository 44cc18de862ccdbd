"""Reads thousands of mutated edit files under a memory limit. Run as a program, with a folder and megabytes.

Every file must be refused by an EditError, or read as an edit whose file it is, byte for byte; and whatever it was,
the weights of a model must not have changed. Prints, as JSON, how many of each kind there were and what went wrong.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

import edits
from edits import canonical
from edits.file import pack

SECONDS_A_FILE = 20
NAMES = [
    "../../../etc/passwd", "/dev/sda", "C:\\Windows\\x", "..", ".", "", "~/.ssh/id", "a/../b", "\0", "a\nb",
    "\u202ename", "\ud800", "con", "file:///etc/passwd", "hf://a/b", "{0}", "%s%n", "x" * 5000, "é", "a::0.left",
]  # fmt: skip
HUGE = [2**31, 2**32, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64, 10**400, -1, -(2**63), 1e308, 0, True]
JUNK = [None, [], {}, [[]], "", "0" * 64, "NaN", [1, 2], {"a": 1}, 0.5, False, *HUGE, *NAMES]
ODD = [b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff" * 4, b"\1\0\x80\x7f"]
"""NaN, infinity, minus infinity, other NaNs."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(24.0).reshape(4, 6) / 8)
        self.bias = nn.Parameter(torch.arange(4.0))
        self.kernel = nn.Parameter(torch.arange(36.0).reshape(2, 2, 3, 3) / 4)


def sound(net: Net) -> list[bytes]:
    """Files of every kind of operation; the last is of a composed edit."""

    def made(name: str, *operations: edits.Add | edits.Scale | edits.Set) -> edits.Edit:
        facts = {"recipe": {"copy": [1.5, None], "text": 'a "quoted" {[ word'}, "notes": {"n": 1}}
        return edits.Edit({name: operations}, edits.describe(net, [name], {"bias", "kernel"} - {name}, "net"), **facts)

    index = torch.tensor([0, 2])
    low = edits.LowRank(torch.ones(4, 2), torch.arange(12.0).reshape(2, 6), (0,), (1,))
    odd = edits.LowRank(torch.ones(18, 1), torch.ones(1, 2), (0, 2, 3), (1,))
    values, dense = torch.full((2,), 0.25), edits.Dense(torch.ones(2, 2, 3, 3))
    members = [
        made("weight", edits.Add((4, 6), low), edits.Scale((4, 6), 0, index, torch.zeros(2))),
        made("kernel", edits.Add((2, 2, 3, 3), odd, "right"), edits.Add((2, 2, 3, 3), dense)),
        made("bias", edits.Add((4,), edits.Slices(0, index, values)), edits.Set((4,), edits.Elements(index, values))),
    ]  # fmt: skip
    return [b"".join(map(bytes, pack(one))) for one in (*members, edits.compose([(one, 1.0) for one in members]))]


def taken_apart(raw: bytes) -> tuple[dict, dict, bytes]:
    """Tensor records, the edit's record, the tensors' bytes."""
    length = int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8 : 8 + length])
    return entries, json.loads(entries.pop("__metadata__")["edit"]), raw[8 + length :]


def assembled(header: bytes, data: bytes) -> bytes:
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def sealed(entries: dict, record: dict, data: bytes) -> bytes:
    """A file whose seal is right, as a careful forger writes it."""

    def file(seal: str) -> bytes:
        inner = json.dumps({**record, "seal": seal}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        whole = {**entries, "__metadata__": {"edit": inner}}
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return assembled(text.encode(errors="surrogatepass"), data)

    return file(sha256(file("0" * 64)).hexdigest())


def mutations(files: list[bytes], source: random.Random) -> Iterator[tuple[str, bytes]]:
    """Kinds and bytes."""
    for _ in range(700):
        raw = bytearray(source.choice(files))
        for _ in range(source.choice([1, 1, 1, 2, 8])):
            raw[source.randrange(len(raw))] ^= 1 << source.randrange(8)
        yield "bit flips", bytes(raw)
    for _ in range(300):
        raw = source.choice(files)
        yield "truncation", raw[: source.randrange(len(raw))]
    for _ in range(250):
        yield "blocks moved", blocks(source.choice(files), source)
    for raw in files:
        for length in [0, 1, 7, 2**23 + 8, *(2**n + d for n in (16, 24, 31, 32, 40, 63) for d in (-1, 0)), 2**64 - 1]:
            yield "huge counts", length.to_bytes(8, "little") + raw[8:]
    for _ in range(500):
        yield "header surgery", surgery(source.choice(files), source)
    for _ in range(150):
        entries, record, data = taken_apart(source.choice(files))
        at = 4 * source.randrange(len(data) // 4)
        yield "NaN", sealed(entries, record, data[:at] + source.choice(ODD) + data[at + 4 :])
    for _ in range(150):
        yield "duplicate keys", doubled(source.choice(files), source)
    for name in NAMES:
        for raw in files[:3]:
            yield "path-like names", renamed(raw, name)
    for depth in (40, 60, 65, 1000, 10**5):
        for opening, closing in (("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"), ("[", ""), ('["', '"]')):
            deep = opening * depth + "1" + closing * depth
            yield "deep JSON", assembled(deep.encode(), b"")
            yield "deep JSON", assembled(canonical.text({"__metadata__": {"edit": deep}}), b"")
    wide = b"[" + b'{"a":0},' * (10**6 - 10) + b"0]"
    yield "wide JSON", assembled(wide, b"")
    yield "wide JSON", assembled(b'{"__metadata__":{"edit":' + canonical.text(wide[: 10**6].decode()) + b"}}", b"")
    yield "deep JSON", assembled(b"[" * 8 * 10**6, b"")


def blocks(raw: bytes, source: random.Random) -> bytes:
    """A block of the file removed, repeated, zeroed, or put elsewhere."""
    start = source.randrange(len(raw) - 1)
    block = raw[start : start + source.choice([1, 8, 64, 512])]
    rest, at = raw[:start] + raw[start + len(block) :], source.randrange(len(raw))
    return source.choice(
        [
            rest,
            raw[:at] + block + raw[at:],
            raw[:start] + bytes(len(block)) + raw[start + len(block) :],
            rest[:at] + block[::-1] + rest[at:],
            raw + block,
        ]
    )


def surgery(raw: bytes, source: random.Random) -> bytes:
    """One value of a header replaced or taken out, one added, or two exchanged; then sealed."""
    entries, record, data = taken_apart(raw)
    whole = {"entries": entries, "record": record}
    spots = [(holder, key) for holder, key in places(whole) if holder is not whole]
    (holder, key), (other, elsewhere) = source.choice(spots), source.choice(spots)
    choice = source.randrange(4)
    if choice == 0:
        holder[key] = source.choice(JUNK)
    elif choice == 1:
        del holder[key]
    elif choice == 2 and isinstance(holder, dict):
        holder[source.choice(NAMES)] = source.choice(JUNK)
    else:
        holder[key] = json.loads(json.dumps(other[elsewhere]))
    return sealed(whole["entries"], whole["record"], data)


def places(value: object) -> Iterator[tuple[dict | list, str | int]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from places(inner)


def doubled(raw: bytes, source: random.Random) -> bytes:
    """A key of a header, or of the record in it, that appears twice."""
    entries, record, data = taken_apart(raw)
    inner = canonical.text(record).decode()
    outer = {**entries, "__metadata__": {"edit": inner}}
    if source.random() < 0.5:
        return assembled(canonical.text({**entries, "__metadata__": {"edit": twice(inner, source)}}), data)
    return assembled(twice(canonical.text(outer).decode(), source).encode(), data)


def twice(text: str, source: random.Random) -> str:
    """A key and a value of a JSON text repeated in the object where they stand."""
    names = {key for _, key in places(json.loads(text)) if isinstance(key, str)}
    spots = [at for name in sorted(names) for at in found(text, f"{json.dumps(name, ensure_ascii=False)}:")]
    at = source.choice(spots)
    colon = text.index('":', at) + 2
    _, end = json.JSONDecoder().raw_decode(text[colon:])
    return text[:at] + text[at : colon + end] + "," + text[at:]


def found(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def renamed(raw: bytes, name: str) -> bytes:
    """The edit with another parameter name, right content and all: what a careful forger of names writes."""
    entries, record, data = taken_apart(raw)
    (old,) = record["operations"]
    for part in (record["operations"], record["base"]["touched"]):
        part[name] = part.pop(old)
    entries = {key.replace(f"{old}::", f"{name}::", 1): entry for key, entry in entries.items()}
    order = sorted(entries, key=lambda key: (entries[key]["dtype"] != "I64", key))
    arranged, start = b"", 0
    for key in order:
        first, last = entries[key]["data_offsets"]
        arranged += data[first:last]
        entries[key]["data_offsets"] = [start, start := start + last - first]
    try:
        total = sha256(canonical.text({"base": record["base"], "operations": record["operations"]}))
    except edits.EditError:
        return sealed(entries, record, arranged)
    for key in sorted(entries):
        dtype = "torch.int64" if entries[key]["dtype"] == "I64" else "torch.float32"
        first, last = entries[key]["data_offsets"]
        total.update(canonical.text([key, dtype, entries[key]["shape"]]) + b"\n" + arranged[first:last])
    record["content"] = total.hexdigest()
    return sealed(entries, record, arranged)


def sparse(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files that take no room and claim to be enormous, but for that in order."""
    for power in (33, 36, 42):
        size = 2**power
        entries = {"weight::0.dense": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
        path = folder / f"sparse{power}"
        path.write_bytes(sealed(entries, taken_apart(sound(Net())[0])[1], b""))
        with open(path, "r+b") as stream:
            stream.truncate(path.stat().st_size + size)
        yield "sparse giants", path


def outcome(path: Path, stack: edits.Stack) -> str:
    """What becomes of a file: "refused", or "identical"; anything else is a fault."""
    try:
        edit = edits.load(path)
    except edits.EditError as error:
        message = str(error)
        assert message.startswith(str(path)), message
        assert message.isprintable(), message
        assert len(message) < 1000, message
        return "refused"
    assert b"".join(map(bytes, pack(edit))) == path.read_bytes(), "it was read as something else than it is"
    try:
        stack.push(edit)
    except edits.EditError:
        return "identical"
    stack.remove(edit)
    return "identical"


def state(net: Net) -> bytes:
    return b"".join(bytes(canonical.tensor_bytes(tensor)) for tensor in net.state_dict().values())


def limit(megabytes: int) -> None:
    """No more memory than is taken already, and so much more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(folder: Path, megabytes: int) -> None:
    torch.set_num_threads(1)
    net = Net()
    stack, before, files = edits.Stack(net), state(net), sound(net)
    counts: Counter[str] = Counter()
    faults: list[str] = []

    def read(kind: str, path: Path) -> None:
        signal.alarm(SECONDS_A_FILE)
        try:
            result = outcome(path, stack)
            if state(net) != before or stack.contents:
                raise AssertionError("the model was touched")
            counts[f"{kind}: {result}"] += 1
        except BaseException:
            faults.append(f"{kind}: {traceback.format_exc()}")
        finally:
            signal.alarm(0)

    def overdue(*_: object) -> None:
        raise TimeoutError(f"not done in {SECONDS_A_FILE} seconds")

    signal.signal(signal.SIGALRM, overdue)
    limit(megabytes)
    path = folder / "mutated"
    for raw in files:
        path.write_bytes(raw)
        read("sound", path)
    for kind, raw in mutations(files, random.Random(0)):
        path.write_bytes(raw)
        read(kind, path)
    for kind, giant in sparse(folder):
        read(kind, giant)
        giant.unlink()
    path.unlink()
    left = sorted(path.name for path in folder.iterdir())
    sys.stdout.write(json.dumps({"counts": counts, "faults": faults, "left": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
