"""TensorFlow Lite files, as far as a small convolutional network needs them: read as a flatbuffer, run by torch.

The layout of tables and the numbers of operators and types are those of the published schema
(tensorflow/lite/schema/schema.fbs, version 3). Nothing in the file is executed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite.errors import RewriteError

MAGIC = b"TFL3"
TYPES = {0: "<f4", 1: "<f2", 2: "<i4"}
DEQUANTIZE = 6
SAME = 0


class Network(nn.Module):
    """A file's network: images (N, C, H, W) to its outputs, (N, C', H', W') float32 each, in the file's order.

    Frozen: gradients flow to the images, never to the weights. RewriteError if the file is damaged, or has an operator
    other than those of `OPERATORS` and the widening of stored halves.
    """

    def __init__(self, content: bytes):
        super().__init__()
        try:
            self._build(content)
        except (struct.error, ValueError, IndexError, KeyError, TypeError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise RewriteError(f"the TensorFlow Lite file is damaged ({reason}); fetch it again") from None
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        known = {self.input: images}
        for (sources, target), step in zip(self.wires, self.steps, strict=True):
            known[target] = step(*(known[i] for i in sources))
        return [known[i] for i in self.outputs]

    def _build(self, content: bytes) -> None:
        if content[4:8] != MAGIC:
            raise RewriteError(f"found a file with the mark {content[4:8]!r}; expected {MAGIC!r}, TensorFlow Lite's")
        model = _Table(content, struct.unpack_from("<I", content)[0])
        # The number of an operator was one byte until there were more than 127 of them.
        codes = [max(code.number(0, "b"), code.number(3)) for code in model.tables(1)]
        buffers = [buffer.bytes(0) for buffer in model.tables(4)]
        graph = model.tables(2)[0]
        constants = {
            i: _array(tensor, buffers[tensor.number(2)])
            for i, tensor in enumerate(graph.tables(0))
            if buffers[tensor.number(2)]
        }
        (self.input,), self.outputs = graph.numbers(1), graph.numbers(2)
        self.wires: list[tuple[tuple[int, ...], int]] = []
        self.steps = nn.ModuleList()
        for operator in graph.tables(3):
            code, sources, (target,) = codes[operator.number(0)], operator.numbers(1), operator.numbers(2)
            if code == DEQUANTIZE and sources[0] in constants:
                constants[target] = constants[sources[0]].astype("<f4")
                continue
            if code not in OPERATORS:
                raise RewriteError(
                    f"the TensorFlow Lite file has operator {code}; expected {', '.join(map(str, OPERATORS))} alone, "
                    f"so it is a network that cannot be run here"
                )
            values = [torch.from_numpy(constants[i].copy()) for i in sources if i in constants]
            self.steps.append(OPERATORS[code](operator.table(4), *values))
            self.wires.append((tuple(i for i in sources if i not in constants), target))


@dataclass(frozen=True)
class _Table:
    """A flatbuffer table: fields by number, any of which may be absent, and then is its default."""

    data: bytes
    at: int

    def number(self, field: int, kind: str = "i", default: int = 0) -> int:
        place = self._place(field)
        return default if place is None else self._read(kind, place)

    def numbers(self, field: int) -> tuple[int, ...]:
        start, count = self._vector(field)
        return struct.unpack_from(f"<{count}i", self.data, start)

    def bytes(self, field: int) -> bytes:
        start, count = self._vector(field)
        return self.data[start : start + count]

    def tables(self, field: int) -> list[_Table]:
        start, count = self._vector(field)
        return [self._follow(start + 4 * i) for i in range(count)]

    def table(self, field: int) -> _Table:
        """An absent table is an empty one, all of whose fields are their defaults."""
        place = self._place(field)
        return _Table(struct.pack("<HHi", 4, 4, 4), 4) if place is None else self._follow(place)

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        vector = self._follow(place)
        return vector.at + 4, self._read("I", vector.at)

    def _follow(self, place: int) -> _Table:
        return _Table(self.data, place + self._read("I", place))

    def _place(self, field: int) -> int | None:
        layout, slot = self.at - self._read("i", self.at), 4 + 2 * field
        offset = self._read("H", layout + slot) if slot < self._read("H", layout) else 0
        return self.at + offset if offset else None

    def _read(self, kind: str, place: int) -> int:
        found: int = struct.unpack_from(f"<{kind}", self.data, place)[0]
        return found


def _array(tensor: _Table, content: bytes) -> np.ndarray:
    return np.frombuffer(content, TYPES[tensor.number(1, "b")]).reshape(tensor.numbers(0))


class _Conv(nn.Module):
    """A convolution (of each channel by itself, if `each`) with a bias."""

    def __init__(self, options: _Table, weight: Tensor, bias: Tensor, *, each: bool = False):
        super().__init__()
        _plain(options, 4 if each else 3)
        weight = rearrange(weight, "1 h w o -> o 1 h w" if each else "o h w i -> o i h w")
        self.weight, self.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias)
        self.strides = options.number(2), options.number(1)
        self.same, self.groups = options.number(0, "b") == SAME, len(weight) if each else 1

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            # The odd pixel is after the last, where torch would have it before the first too.
            sides = []
            for size, kernel, stride in zip(x.shape[:1:-1], self.weight.shape[:1:-1], self.strides[::-1], strict=True):
                missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
                sides += [missing // 2, missing - missing // 2]
            x = F.pad(x, sides)
        return F.conv2d(x, self.weight, self.bias, self.strides, groups=self.groups)


class _Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def _depthwise(options: _Table, weight: Tensor, bias: Tensor) -> nn.Module:
    return _Conv(options, weight, bias, each=True)


def _add(options: _Table) -> nn.Module:
    _plain(options, 0)
    return _Add()


def _max_pool(options: _Table) -> nn.Module:
    _plain(options, 5)
    if options.number(0, "b") == SAME:
        raise RewriteError("the TensorFlow Lite file pools with padding, which is not done here; use another file")
    return nn.MaxPool2d((options.number(4), options.number(3)), (options.number(2), options.number(1)))


def _pad(_options: _Table, widths: Tensor) -> nn.Module:
    _batch, height, width, channels = widths.tolist()
    return nn.ConstantPad3d((*width, *height, *channels), 0.0)


def _prelu(_options: _Table, slopes: Tensor) -> nn.Module:
    found = nn.PReLU(slopes.numel())
    found.weight = nn.Parameter(slopes.flatten())
    return found


def _plain(options: _Table, activation: int) -> None:
    if options.number(activation, "b"):
        raise RewriteError("the TensorFlow Lite file has activations fused into operators, which is not done here")


OPERATORS: Mapping[int, Callable[..., nn.Module]] = {
    0: _add,
    3: _Conv,
    4: _depthwise,
    17: _max_pool,
    34: _pad,
    54: _prelu,
}
"""By the schema's number; each is made of its options and constant inputs, and called with the others."""
