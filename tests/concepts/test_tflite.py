"""The reader of TensorFlow Lite files: a toy file is the network it was written from; a damaged one is an error."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.concepts.tflite import Network
from rewrite.errors import RewriteError

FLOAT, HALF, INT = 0, 1, 2


class Flat:
    """A writer of flatbuffers, back to front as they are: whatever is pointed to lies behind what points."""

    def __init__(self, root: dict[int, Any], mark: bytes = b"TFL3") -> None:
        self.data = bytearray(b"\0\0\0\0" + mark)
        self.point(0, self.table(root))

    def point(self, place: int, to: int) -> None:
        struct.pack_into("<I", self.data, place, to - place)

    def table(self, fields: dict[int, Any]) -> int:
        """Values are (format, number), bytes, a list of ints, a table, or a list of tables."""
        count = max(fields, default=-1) + 1
        layout = len(self.data)
        size = 4 + 4 * count
        places = [4 + 4 * i if i in fields else 0 for i in range(count)]
        self.data += struct.pack(f"<HH{count}H", 4 + 2 * count, size, *places)
        at = len(self.data)
        self.data += struct.pack("<i", at - layout) + bytes(size - 4)
        for i, value in fields.items():
            place = at + 4 + 4 * i
            if isinstance(value, tuple):
                struct.pack_into(f"<{value[0]}", self.data, place, value[1])
            elif isinstance(value, dict):
                self.point(place, self.table(value))
            else:
                self.point(place, self.vector(value))
        return at

    def vector(self, values: Any) -> int:
        at = len(self.data)
        self.data += struct.pack("<I", len(values))
        if isinstance(values, bytes):
            self.data += values
        elif values and isinstance(values[0], dict):
            self.data += bytes(4 * len(values))
            for i, value in enumerate(values):
                self.point(at + 4 + 4 * i, self.table(value))
        else:
            self.data += struct.pack(f"<{len(values)}i", *values)
        return at


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape)


CONSTANTS = {
    1: normal(1, 4, 3, 3, 3).astype("<f2"),
    2: normal(2, 4).astype("<f2"),
    3: normal(3, 1, 1, 4).astype("<f2"),
    4: normal(4, 1, 3, 3, 4).astype("<f4"),
    5: normal(5, 4).astype("<f4"),
    6: np.array([[0, 0], [0, 0], [0, 0], [0, 2]], "<i4"),
    7: normal(7, 2, 3, 3, 6).astype("<f4"),
    8: normal(8, 2).astype("<f4"),
}
CODES = [6, 3, 54, 4, 17, 34, 0]
PADDED, VALID = ("b", 0), ("b", 1)
ONE, TWO = ("i", 1), ("i", 2)
OPERATORS: list[tuple[int, list[int], int, dict[int, Any]]] = [
    (6, [1], 11, {}),
    (6, [2], 12, {}),
    (6, [3], 13, {}),
    (3, [0, 11, 12], 20, {0: PADDED, 1: TWO, 2: TWO}),
    (54, [20, 13], 21, {}),
    (4, [21, 4, 5], 22, {0: PADDED, 1: ONE, 2: ONE}),
    (0, [21, 22], 23, {}),
    (17, [23], 24, {0: VALID, 1: TWO, 2: TWO, 3: TWO, 4: TWO}),
    (34, [24, 6], 25, {}),
    (3, [25, 7, 8], 26, {0: VALID, 1: ONE, 2: ONE}),
]


def toy(operators: Any = OPERATORS, codes: list[int] = CODES) -> bytes:
    """A convolution, a residual block, a pool that is widened, a head; and the pool itself as a second output."""
    order = sorted(CONSTANTS)
    types = {"<f4": FLOAT, "<f2": HALF, "<i4": INT}
    tensors = [
        {0: list(CONSTANTS[i].shape), 1: ("b", types[CONSTANTS[i].dtype.str]), 2: ("I", order.index(i) + 1)}
        if i in CONSTANTS
        else {0: [1, 16, 16, 3], 2: ("I", 0)}
        for i in range(27)
    ]
    steps = [{0: ("I", codes.index(code)), 1: ins, 2: [out], 4: said} for code, ins, out, said in operators]
    graph = {0: tensors, 1: [0], 2: [26, 24], 3: steps}
    buffers = [{}, *({0: CONSTANTS[i].tobytes()} for i in order)]
    numbers = [{0: ("b", code), 3: ("i", code)} for code in codes]
    return bytes(Flat({0: ("I", 3), 1: numbers, 2: [graph], 4: buffers}).data)


def by_hand(images: Tensor) -> list[Tensor]:
    kept = {i: torch.from_numpy(value.astype("f4")) for i, value in CONSTANTS.items()}
    # Of an even size, a stride of 2 leaves one row and column to pad, which stand last.
    x = F.conv2d(F.pad(images, (0, 1, 0, 1)), kept[1].permute(0, 3, 1, 2), kept[2], 2)
    x = torch.where(x > 0, x, x * kept[3].view(4, 1, 1))
    x = x + F.conv2d(x, kept[4].permute(3, 0, 1, 2), kept[5], padding=1, groups=4)
    x = F.max_pool2d(x, 2)
    wide = torch.cat([x, torch.zeros_like(x[:, :2])], 1)
    return [F.conv2d(wide, kept[7].permute(0, 3, 1, 2), kept[8]), x]


TOY = toy()
IMAGES = torch.from_numpy(normal(9, 2, 3, 16, 16)).float()


def test_a_file_is_the_network_that_it_was_written_from() -> None:
    network = Network(TOY)
    for found, expected in zip(network(IMAGES), by_hand(IMAGES), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not any(weight.requires_grad for weight in network.parameters())


def test_gradients_reach_the_images() -> None:
    images = IMAGES.clone().requires_grad_()
    Network(TOY)(images)[0].square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "expected b'TFL3'"),
        (TOY[:9], "damaged"),
        (b"not a network at all", "expected b'TFL3'"),
        (bytes(Flat({}, mark=b"TFL2").data), "expected b'TFL3'"),
        (toy([*OPERATORS[:6], (18, [21, 22], 23, {}), *OPERATORS[7:]], [*CODES, 18]), "operator 18; expected 0, 3, 4"),
        (toy([*OPERATORS[:-1], (3, [25, 7, 8], 26, {0: VALID, 1: ONE, 2: ONE, 3: ("b", 1)})]), "activations fused"),
        (toy([*OPERATORS[:7], (17, [23], 24, {0: PADDED, 1: TWO, 2: TWO, 3: TWO, 4: TWO})]), "pools with padding"),
    ],
)
def test_what_is_no_such_network_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(RewriteError, match=says):
        Network(content)


def test_a_file_cut_short_or_with_a_byte_changed_is_an_error_or_a_network() -> None:
    chance, sentences, networks = random.Random(0), [], 0
    for turn in range(400):
        content = bytearray(TOY)
        if turn % 2:
            content = content[: chance.randrange(len(content))]
        else:
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            Network(bytes(content))
            networks += 1
        except RewriteError as error:
            sentences.append(str(error))
    assert networks > 0
    assert sentences
    assert not any("\n" in sentence for sentence in sentences)
