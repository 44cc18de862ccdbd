"""Files that were made to do harm or are damaged, by name: their bytes, and a pattern of the refusal.

No pattern: the file is read all the same, since what is wrong in it lies where nothing looks, or would only be run.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import torch

from layouts.assemble import (
    NOTHING,
    TRUE,
    array,
    blob,
    call,
    dictionary,
    listed,
    module,
    name,
    number,
    numbers,
    row,
    snapshot,
    stream,
    tensor,
    text,
    whole,
)  # fmt: skip

Case = tuple[bytes, str | None]

CALLS = (
    "os.system", "posix.system", "nt.system", "subprocess.Popen", "subprocess.check_output", "builtins.eval",
    "builtins.exec", "__builtin__.eval", "__builtin__.execfile", "builtins.__import__", "builtins.compile",
    "builtins.open", "pickle.loads", "_pickle.loads", "ctypes.CDLL", "socket.socket", "runpy.run_path",
    "importlib.import_module", "webbrowser.open", "pty.spawn", "shutil.rmtree", "torch.load", "torch.hub.load",
    "dill._dill.loads", "torch.serialization.os.system", "sys.exit", "code.interact", "timeit.timeit",
)  # fmt: skip


def cases() -> dict[str, Case]:
    return {**_calls(), **_opcodes(), **_sources(), **_storages(), **_tensors(), **_states(), **_arrays(), **_sizes(),
            **_depths(), **_copies(), **_names(), **_endings(), **_archives(), **_headers()}  # fmt: skip


def _calls() -> dict[str, Case]:
    found: dict[str, Case] = {}
    for path in CALLS:
        module_name, _, what = path.rpartition(".")
        payload = call(module_name, what, text("touch ran"))
        found[f"call {path}"] = snapshot(payload=payload), "would call"
    found["dotted"] = snapshot(payload=call("torch", "serialization.os.system", text("touch ran"))), "would call"
    made = name("subprocess", "Popen") + row(text("touch ran"))
    found["new object"] = snapshot(payload=made + b"\x81"), "would call"
    found["new object with keywords"] = snapshot(payload=made + b"}\x92"), "would call"
    found["in the weights"] = snapshot(call("os", "system", text("touch ran"))), "would call"
    found["by GLOBAL"] = snapshot(payload=b"cos\nsystem\n" + row(text("touch ran")) + b"R"), "would call"
    subclasses = call("collections", "OrderedDict.__class__.__base__.__subclasses__")
    found["dotted, harmless"] = snapshot(payload=subclasses), None
    getattr_ = call("builtins", "getattr", name("torch", "Tensor"), text("__class__"))
    found["getattr, called again"] = snapshot(payload=getattr_ + row(text("x")) + b"R"), None
    return found


def _opcodes() -> dict[str, Case]:
    bad = {
        "INST": b"(ios\nsystem\n", "OBJ": b"(cos\nsystem\no", "EXT1": b"\x82\x01", "EXT2": b"\x83\x01\x00",
        "EXT4": b"\x84\x01\x00\x00\x00", "PERSID": b"P0\n", "INT": b"I1\n", "LONG": b"L1L\n", "FLOAT": b"F1.0\n",
        "STRING": b"S'x'\n", "UNICODE": b"Vx\n", "GET": b"g0\n", "DICT": b"(d", "LIST": b"(l",
        "NEXT_BUFFER": b"\x97", "unknown": b"\xff",
    }  # fmt: skip
    return {
        **{f"opcode {key}": (snapshot(payload=code), "opcode|would call") for key, code in bad.items()},
        "BINPERSID": (snapshot(payload=text("x") + b"Q"), "outside of itself"),
        "protocol 6": (b"\x80\x04\x80\x06N.", "protocol 6"),
        "pop of nothing": (whole(b"00"), "cut short or damaged"),
        "mark of nothing": (whole(b"t"), "cut short or damaged"),
        "stop with nothing": (whole(), "cut short or damaged"),
        "memo of nothing": (whole(b"h\x07"), "damaged"),
        "odd pairs": (whole(b"}(NNNu"), "key without a value"),
        "append to a number": (whole(number(3), b"Na"), "no list"),
        "pairs into a list": (whole(b"]NNs"), "no dictionary"),
        "text that is none": (whole(b"\x8c\x02\xff\xff"), "damaged"),
        "name of a number": (whole(number(1), number(2), b"\x93"), "no text"),
        "name without end": (b"\x80\x02c" + b"a" * 5000, "more than 512"),
    }


def _sources() -> dict[str, Case]:
    evil = "import os; os.system('touch ran')"
    inner = dictionary(weight=tensor())
    return {
        "hostile source": (whole(dictionary(G_ema=module(inner, source=evil))), None),
        "hostile source inside": (
            whole(dictionary(G_ema=module(modules=dictionary(synthesis=module(inner, source=evil))))), None
        ),
        "import hook": (snapshot(payload=call("torch_utils.persistence", "import_hook", text(evil))), None),
        "persistent without a name": (
            snapshot(payload=call("torch_utils.persistence", "_reconstruct_persistent_obj", b"}")), "persistent object"
        ),
        "persistent of a list": (
            snapshot(payload=call("torch_utils.persistence", "_reconstruct_persistent_obj", b"]")), "persistent object"
        ),
    }  # fmt: skip


def _storages() -> dict[str, Case]:
    evil = whole(call("os", "system", text("touch ran")))
    return {
        "plain pickle for a storage": (snapshot(tensor(evil)), "would call"),
        "stream with a call": (snapshot(tensor(stream(inside=evil[2:-1]))), "would call"),
        "stream without a storage": (snapshot(tensor(stream(inside=text("0")))), "other storages"),
        "zip for a storage": (snapshot(tensor(_zip({"archive/data.pkl": evil}))), "opcode"),
        "nothing for a storage": (snapshot(tensor(b"")), "cut short"),
        "stream in a stream": (
            snapshot(tensor(stream(inside=call("torch.storage", "_load_from_bytes", blob(stream()))))),
            "streams in streams",
        ),
        "another magic number": (snapshot(tensor(stream(magic=7))), "damaged"),
        "type of a storage is a call": (snapshot(tensor(stream(kind=name("os", "system")))), "would call"),
        "type of a storage is a class": (
            snapshot(tensor(stream(kind=name("torch.nn.modules.linear", "Linear")))), "none of torch"
        ),
        "type of a storage is text": (snapshot(tensor(stream(kind=text("FloatStorage")))), "points at data"),
        "fewer numbers than claimed": (snapshot(tensor(stream(count=5, data=bytes(16)))), "is given"),
        "more numbers than claimed": (snapshot(tensor(stream(count=4, data=bytes(20)))), "expected"),
        "body claims more": (snapshot(tensor(stream(body=5))), "in one place"),
        "body claims less than none": (snapshot(tensor(stream(body=-1))), "in one place"),
        "less than none": (snapshot(tensor(stream(count=-1))), "points at data"),
        "2^40 numbers": (snapshot(tensor(stream(count=2**40))), "is given"),
        "2^63 numbers": (snapshot(tensor(stream(count=2**62, body=0))), "points at data"),
        "storage of text": (snapshot(call("torch.storage", "_load_from_bytes", text("x"))), "no bytes"),
    }  # fmt: skip


def _tensors() -> dict[str, Case]:
    def lie(**how: bytes) -> Case:
        return snapshot(tensor(**how)), "reaches beyond|no tensor has"

    return {
        "out of bounds": lie(start=number(1)),
        "far out of bounds": lie(start=number(2**62)),
        "before its beginning": lie(start=number(-1)),
        "huge stride": lie(stride=numbers(2**61, 1)),
        "negative stride": lie(stride=numbers(-2, 1)),
        "2^40 times one number": lie(shape=numbers(2**40), stride=numbers(0)),
        "size that overflows": lie(shape=numbers(2**32, 2**32), stride=numbers(0, 0)),
        "size of 60 bytes": lie(shape=numbers(2**470, 2**470), stride=numbers(1, 1)),
        "negative size": lie(shape=numbers(-2, -2)),
        "more strides than sizes": lie(stride=numbers(2, 1, 1)),
        "rank 1000": lie(shape=numbers(*[1] * 1000), stride=numbers(*[1] * 1000)),
        "size that is a list": lie(shape=listed(number(2), number(2))),
        "size of text": lie(shape=row(text("2"), text("2"))),
        "a tensor of a dictionary": (snapshot(call("torch._utils", "_rebuild_tensor_v2", b"}")), "does not write"),
        "a weight of an unknown class": (snapshot(call("some.where", "Weight", number(1))), "no tensor"),
        "a weight of text": (snapshot(text("weight")), "no tensor"),
        "numpy in place of torch": (snapshot(array()), None),
    }


def _states() -> dict[str, Case]:
    def patched(target: bytes, state: bytes = dictionary(x=number(1))) -> Case:
        return snapshot(payload=target + state + b"b"), "changes a|two states|no version of numpy"

    return {
        "state of a name": patched(name("torch._utils", "_rebuild_tensor_v2")),
        "state of a class": patched(name("collections", "OrderedDict")),
        "state of a list": patched(b"]"),
        "state of a number": patched(number(1)),
        "state of a tensor": patched(tensor()),
        "state of a dictionary that is none": patched(call("collections", "OrderedDict"), number(1)),
        "two states": patched(call("some.where", "Thing") + b"}b"),
        "state of an array": patched(array()),
        "state of an unknown class": (
            snapshot(payload=call("some.where", "Thing") + dictionary(x=number(1)) + b"b"), None
        ),
    }  # fmt: skip


def _arrays() -> dict[str, Case]:
    return {
        "array of objects": (snapshot(array("O8", order="|", content=listed(text("x"), text("y")))), "no number"),
        "array of objects in bytes": (snapshot(array("O8", order="|")), "no number"),
        "array, big endian": (snapshot(array(order=">")), "no number"),
        "array larger than its bytes": (snapshot(array(shape=numbers(3))), "reaches beyond|is given"),
        "array smaller than its bytes": (snapshot(array(shape=numbers(1))), "is given"),
        "array of 2^62": (snapshot(array(shape=numbers(2**62))), "reaches beyond"),
        "array of negative size": (snapshot(array(shape=numbers(-1))), "no array has"),
        "array of rank 100": (snapshot(array(shape=numbers(*[1] * 100))), "no array has"),
        "array with bytes to spare": (snapshot(array(content=blob(bytes(7)))), "is given"),
        "array of text": (snapshot(array(content=text("ä"))), "else than bytes"),
        "scalar of another size": (
            snapshot(
                payload=call("numpy.core.multiarray", "scalar", call("numpy", "dtype", text("f8")), blob(b"1234"))
            ),
            None,
        ),
    }


def _sizes() -> dict[str, Case]:
    long = struct.Struct("<Q").pack
    return {
        "memo at 2^32 - 1": (snapshot(payload=b"Nr\xff\xff\xff\xff"), None),
        "bytes of 2^40": (whole(b"\x8e" + long(2**40)), "inside a value"),
        "bytearray of 2^40": (whole(b"\x96" + long(2**40)), "inside a value"),
        "bytes of 2^64": (whole(b"\x8e" + long(2**64 - 1)), "inside a value"),
        "text of 2^62": (whole(b"\x8d" + long(2**62)), "inside a value|steps"),
        "text of 2^32": (whole(b"X\xff\xff\xff\xff"), "inside a value|steps"),
        "integer of 2^31": (whole(b"\x8b\xff\xff\xff\x7f"), "integer"),
        "integer of 2000 bytes": (whole(b"\x8b\xd0\x07\x00\x00" + bytes(2000)), "integer"),
        "frame of 2^63": (whole(b"\x95" + long(2**63), dictionary(G_ema=module(dictionary(w=tensor())))), None),
        "3 million opcodes": (whole(b"N0" * 1_500_000, b"N"), "steps"),
        "3 million dictionaries": (whole(b"}" * 3_000_000), "steps"),
        "one text 20,000 times": (_again(text("x" * 100_000), 20_000), "steps"),
        "one source 20,000 times": (_sources_again(), None),
    }


def _again(value: bytes, times: int) -> bytes:
    """Bytes of a text decoded again and again: `_codecs.encode` of a memo."""
    encode = name("_codecs", "encode") + b"q\x00" + b"0" + value + text("latin1") + b"\x86q\x01" + b"0"
    return whole(encode, b"h\x00h\x01R0" * times, b"N")


def _sources_again() -> bytes:
    meta = dictionary(
        type=text("class"), version=number(6), module_src=text("#" * 1_000_000), class_name=text("C"), state=b"}"
    )
    head = name("torch_utils.persistence", "_reconstruct_persistent_obj") + b"q\x000" + meta + b"\x85q\x010"
    return whole(head, b"h\x00h\x01R0" * 20_000, dictionary(G_ema=module(dictionary(w=tensor()))))


def _depths() -> dict[str, Case]:
    deep = 200_000
    doubled = b")" + b"2\x86" * 100
    lists = b"](" + number(1) + number(1) + b"e" + b"q\x000](h\x00h\x00e" * 60
    cyclic = b"}q\x05(" + text("self") + b"h\x05u"
    itself = (
        name("torch_utils.persistence", "_reconstruct_persistent_obj")
        + b"}q\x01("
        + text("class_name") + text("Generator") + text("module_src") + text("pass")
        + text("state") + b"}q\x02(" + text("_parameters") + b"}" + text("_buffers") + b"}"
        + text("_modules") + b"}q\x03u"
        + b"u\x85Rq\x04" + b"h\x03" + text("again") + b"h\x04s0"
    )  # fmt: skip
    records = name("a", "b") + b"q\x070" + b")q\x080" + b"h\x07h\x08\x85Rq\x080" * 50_000 + b"h\x08"
    chain = module()
    for _ in range(200):
        chain = module(modules=dictionary(a=chain))
    return {
        "tuples nested 200,000 deep": (snapshot(payload=b")" + b"\x85" * deep), None),
        "lists nested 200,000 deep": (snapshot(payload=b"]" * deep + b"a" * (deep - 1)), None),
        "records nested 50,000 deep": (snapshot(payload=records), None),
        "deep tuple for a key": (snapshot(payload=b"}" + b")" + b"\x85" * deep + b"Ns"), None),
        "deep tuple for a key of the file": (whole(b"}" + b")" + b"\x85" * deep + b"Ns"), None),
        "deep tuple for a class": (snapshot(payload=b")" + b"\x85" * deep + b")R"), None),
        "2^60 lists": (snapshot(payload=lists), "steps"),
        "2^100 tuples in arguments": (
            whole(dictionary(G_ema=module(dictionary(w=tensor()), _init_kwargs=dictionary(x=doubled)))), "steps"
        ),
        "dictionary in itself": (snapshot(payload=cyclic), None),
        "module in itself": (whole(dictionary(G_ema=itself)), "part of itself"),
        "modules 200 deep": (whole(dictionary(G_ema=chain)), "part of itself"),
        "modules of an unknown class": (
            whole(dictionary(G_ema=module(modules=dictionary(a=call("some.where", "Layer"))))), "no tensor"
        ),
    }  # fmt: skip


def _names() -> dict[str, Case]:
    def named(key: str) -> Case:
        return whole(dictionary(G_ema=module(b"}(" + text(key) + tensor() + b"u"))), "names that no module takes"

    return {
        "name that is a path": named("../../etc/passwd"),
        "name with a point": named("a.b"),
        "name without letters": named(""),
        "name of 10,000 letters": named("a" * 10_000),
        "name that steers a terminal": named("\x1b[2J"),
        "name twice": (
            whole(dictionary(G_ema=module(b"}(" + (text("a") + tensor()) * 2 + b"u"))), "takes twice"
        ),
        "name that is half a letter": named("\ud800"),
    }  # fmt: skip


def _endings() -> dict[str, Case]:
    good = snapshot()
    return {
        "second pickle behind": (good + whole(NOTHING), "ends at byte"),
        "bytes behind": (good + b"\x00", "ends at byte"),
        "cut in half": (good[: len(good) // 2], "inside a value|cut short|damaged|expected"),
        "without its end": (good[:-1], "cut short"),
        "protocol alone": (b"\x80\x04", "cut short"),
        "one byte": (b"\x80", "no format known"),
        "nothing": (b"", "empty"),
        "zeros": (bytes(100_000), "zeros"),
        "stream cut short": (_legacy()[:-3], "is given|expected"),
        "stream with bytes behind": (_legacy() + b"x", "expected"),
        "stream with a call": (stream(inside=call("os", "system", text("touch ran"))), "would call"),
        "stream, big endian": (_legacy().replace(b"little_endian", b"middle_endian"), "big-endian"),
    }


def _legacy() -> bytes:
    content = io.BytesIO()
    torch.save({"w": torch.ones(3)}, content, _use_new_zipfile_serialization=False)
    return content.getvalue()


def _saved() -> bytes:
    content = io.BytesIO()
    torch.save({"w": torch.ones(3)}, content)
    return content.getvalue()


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    return content.getvalue()


def _copies() -> dict[str, Case]:
    """Little files that ask for a lot: what is stored once is made a million times where it is read."""

    def million(one: bytes) -> bytes:
        return one + b"q\x000" + listed(*[b"h\x00"] * 1000) + b"q\x010" + listed(*[b"h\x01"] * 1000)

    empty = stream(0, data=b"")
    rows = tensor(empty, shape=numbers(1000, 1000, 1000, 0), stride=numbers(1, 1, 1, 1))
    long, twice = text("x" * 10**6) + b"q\x000", b"]" + b"2\x86" * 60
    damaged = b"".join(map(whole, (twice, number(1001), dictionary(little_endian=TRUE))))
    networks = b"}(" + b"".join(text(f"{i}") + b"h\x00" for i in range(3000)) + b"u"
    one_network = module() + b"q\x000"
    return {
        "copies of a long text": (snapshot(payload=million(text("x" * 5000))), "steps to read"),
        "copies of an array": (
            snapshot(payload=million(array(shape=numbers(1000), content=blob(bytes(4000))))), "steps to read"
        ),
        "copies of a name": (snapshot(payload=million(name("a" * 400, "b" * 400))), "steps to read"),
        "copies of a key": (snapshot(payload=million(b"}" + name("a" * 400, "b" * 400) + b"Ns")), "steps to read"),
        "copies of text for numbers": (
            snapshot(payload=long + listed(*[array("i1", shape=numbers(10**6), content=b"h\x00")] * 3000)),
            "steps to read",
        ),
        "copies of a long path": (
            whole(one_network + b"}" + text("x" * 10**6) + networks + b"s"), "steps to read"
        ),
        "bytes of nothing": (snapshot(payload=listed(b"C\x00" * 10**6)), "steps to read"),
        "a billion empty rows": (snapshot(payload=rows), None),
        "more empty rows than numbers": (
            snapshot(payload=tensor(empty, shape=numbers(2**62, 0), stride=numbers(1, 1))), "reaches beyond"
        ),
        "a dtype of a long name": (snapshot(payload=array("f" * 10**6)), "form that no version"),
        "a magic number that doubles": (snapshot(tensor(damaged + whole(NOTHING) * 2)), "another magic number"),
        "many sources": (
            snapshot(payload=listed(*(module(source=f"pass  # {i}") for i in range(1500)))), "Python source"
        ),
    }  # fmt: skip


def _archives() -> dict[str, Case]:
    evil = whole(call("os", "system", text("touch ran")))
    kind = row(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), number(4)) + b"Q"
    pickled = whole(dictionary(w=call("torch._utils", "_rebuild_tensor_v2", kind, number(0), numbers(4), numbers(1))))
    with_data = {"a/data.pkl": pickled, "a/data/0": bytes(16)}
    good = _zip(with_data)
    directory = good.rfind(b"PK\x01\x02")
    twice = good.replace(b"a/data/0", b"a/data.0").replace(b"a/data.0", b"a/data.p")
    return {
        "zip with a call": (_zip({"a/data.pkl": evil}), "would call"),
        "zip, sound": (good, None),
        "zip without a storage": (_zip({"a/data.pkl": pickled}), "lacks storage"),
        "zip with a short storage": (_zip(with_data | {"a/data/0": bytes(15)}), "is given"),
        "zip with a long storage": (_zip(with_data | {"a/data/0": bytes(17)}), "is given"),
        "zip with two pickles": (_zip(with_data | {"b/data.pkl": evil}), "two pickles"),
        "zip, big endian": (_zip(with_data | {"a/byteorder": b"big"}), "big-endian"),
        "zip, packed": (_zip(with_data, zipfile.ZIP_DEFLATED), "compressed"),
        "zip bomb": (_zip({"a/data.pkl": bytes(50_000_000)}, zipfile.ZIP_DEFLATED), "compressed"),
        "zip with a second pickle behind": (_zip(with_data | {"a/data.pkl": pickled + b"N."}), "ends at byte"),
        "zip cut short": (_saved()[:-100], "no directory|cut short"),
        "zip of nothing but its start": (b"PK\x03\x04" + bytes(100), "no directory"),
        "zip with a member far away": (
            good[: directory + 42] + b"\xff\xff\xff\x7f" + good[directory + 46 :], "cut short|points at"
        ),
        "zip with a huge member": (
            good[: directory + 20] + b"\xff\xff\xff\x7f" * 2 + good[directory + 28 :], "cut short|points at"
        ),
        "zip, encrypted": (good[: directory + 8] + b"\x01\x00" + good[directory + 10 :], "encrypted"),
        "zip without a member where it says": (
            b"PK\x03\x04" + good[4:].replace(b"PK\x03\x04", b"PK\x03\x05"), "no member"
        ),
        "zip with 60,000 members promised": (
            good[:-22] + good[-22:].replace(struct.pack("<2H", 2, 2), struct.pack("<2H", 60_000, 60_000)), "cut short"
        ),
        "zip with a member twice": (twice, "two members|is given|lacks|damaged"),
        "npz with an array of objects": (_npz(), "no number"),
        "npz bomb": (_zip({"x.npy": bytes(600_000_000)}, zipfile.ZIP_DEFLATED), "unpacks to more"),
        "npz with rubbish": (_zip({"x.npy": b"rubbish"}), "no array of numpy"),
    }  # fmt: skip


def _npz() -> bytes:
    content = io.BytesIO()
    np.savez(content, x=np.array(["a"], dtype=object))
    return content.getvalue()


def _headers() -> dict[str, Case]:
    def tensors(header: object, data: bytes = bytes(8)) -> bytes:
        encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(encoded)) + encoded + data

    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    npy = b"\x93NUMPY\x01\x00"

    def array_file(header: str, data: bytes = bytes(8)) -> bytes:
        encoded = header.encode() + b"\n"
        return npy + struct.pack("<H", len(encoded)) + encoded + data

    return {
        "safetensors, sound": (tensors({"w": one}), None),
        "safetensors beyond the file": (tensors({"w": one | {"shape": [4], "data_offsets": [0, 16]}}), "not sound"),
        "safetensors of another size": (tensors({"w": one | {"shape": [3]}}), "not sound"),
        "safetensors, negative": (tensors({"w": one | {"data_offsets": [-8, 0]}}), "not sound"),
        "safetensors of no type": (tensors({"w": one | {"dtype": "F33"}}), "not sound"),
        "safetensors with a hole": (tensors({"w": one, "v": one | {"data_offsets": [16, 24]}}, bytes(24)), "not sound"),
        "safetensors of a list": (tensors(b"[]" + b" " * 6), "JSON text|no format known"),
        "safetensors nested deep": (tensors(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "not sound"),
        "safetensors with a name twice": (
            tensors(b'{"w":%s,"w":%s}' % ((json.dumps(one).encode(),) * 2)), "not sound"
        ),
        "safetensors with a long header": (struct.pack("<Q", 2**62) + b"{" + bytes(100), "no format known"),
        "safetensors with bytes behind": (tensors({"w": one}, bytes(9)), "not sound"),
        "npy, sound": (array_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"), None),
        "npy with a call for a header": (array_file("__import__('os').system('touch ran')"), "objects or records"),
        "npy of objects": (array_file("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), "objects|no number"),
        "npy of 2^60": (
            array_file("{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }"), "reaches beyond"
        ),
        "npy cut short": (array_file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }")[:20], "objects or"),
        "OpenVINO without weights": (b'<?xml version="1.0"?><net name="x" version="10"></net>', "beside it"),
        "XML of something else": (b'<?xml version="1.0"?><svg></svg>', "no OpenVINO graph"),
    }  # fmt: skip
