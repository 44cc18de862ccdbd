"""Pickles put together opcode by opcode, so that they can say what no writer would."""

from __future__ import annotations

import struct

from rewrite.checkpoints.pickled.stream import MAGIC, PROTOCOL

NOTHING, TRUE = b"N", b"\x88"


def whole(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def blob(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def row(*values: bytes) -> bytes:
    return b"(" + b"".join(values) + b"t"


def numbers(*values: int) -> bytes:
    return row(*map(number, values))


def listed(*values: bytes) -> bytes:
    return b"](" + b"".join(values) + b"e"


def dictionary(**pairs: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in pairs.items()) + b"u"


def name(module: str, what: str) -> bytes:
    return text(module) + text(what) + b"\x93"


def call(module: str, what: str, *args: bytes) -> bytes:
    return name(module, what) + row(*args) + b"R"


def stream(
    count: int = 4,
    *,
    body: int | None = None,
    data: bytes | None = None,
    kind: bytes | None = None,
    inside: bytes | None = None,
    magic: int = MAGIC,
) -> bytes:
    """Torch's older stream of one storage of floats; each argument is a lie that it may tell."""
    kind = name("torch", "FloatStorage") if kind is None else kind
    identifier = row(text("storage"), kind, text("0"), text("cuda:0"), number(count), NOTHING) + b"Q"
    return b"".join(
        (
            whole(number(magic)), whole(number(PROTOCOL)), whole(dictionary(little_endian=TRUE)),
            whole(identifier if inside is None else inside), whole(listed(text("0"))),
            struct.pack("<q", count if body is None else body),
            struct.pack(f"<{max(min(count, 64), 0)}f", *range(max(min(count, 64), 0))) if data is None else data,
        )
    )  # fmt: skip


def tensor(
    content: bytes | None = None,
    *,
    start: bytes = number(0),
    shape: bytes = numbers(2, 2),
    stride: bytes = numbers(2, 1),
) -> bytes:
    """A parameter: a view of the storage in a nested stream."""
    storage = call("torch.storage", "_load_from_bytes", blob(stream() if content is None else content))
    built = call(
        "torch._utils", "_rebuild_tensor_v2", storage, start, shape, stride, b"\x89", call("collections", "OrderedDict")
    )
    return call("torch._utils", "_rebuild_parameter", built, b"\x89", call("collections", "OrderedDict"))


def module(parameters: bytes = b"}", modules: bytes = b"}", *, source: str = "pass", **more: bytes) -> bytes:
    """An object of NVIDIA's persistence."""
    state = dictionary(_parameters=parameters, _buffers=b"}", _modules=modules, **more)
    meta = dictionary(
        type=text("class"), version=number(6), module_src=text(source), class_name=text("Generator"), state=state
    )
    return call("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


def snapshot(parameter: bytes | None = None, **beside: bytes) -> bytes:
    """A file whose G_ema has one parameter; what stands beside it comes first, as it would be run first."""
    averaged = module(dictionary(weight=tensor() if parameter is None else parameter))
    return whole(dictionary(**beside, G_ema=averaged))


def array(dtype: str = "f4", *, order: str = "<", shape: bytes = numbers(2), content: bytes | None = None) -> bytes:
    kind = call("numpy", "dtype", text(dtype), b"\x89", TRUE)
    kind += row(number(3), text(order), NOTHING, NOTHING, NOTHING, number(-1), number(-1), number(0)) + b"b"
    empty = call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), numbers(0), blob(b"b"))
    state = row(number(1), shape, kind, b"\x89", blob(bytes(8)) if content is None else content)
    return empty + state + b"b"
