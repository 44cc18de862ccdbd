"""Files written by earlier versions go on being read. Those in `data/` are never written anew."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from edits import Stack, load
from edits.canonical import tensor_bytes
from edits.file import pack

FIRST = Path(__file__).with_name("data") / "version-1.safetensors"


class Net(nn.Module):
    """Numbers that add up without rounding, on any machine and in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(24.0).reshape(4, 6) / 8)
        self.kernel = nn.Parameter(torch.arange(36.0).reshape(2, 2, 3, 3) / 4)
        self.bias = nn.Parameter(torch.arange(4.0))
        self.register_buffer("steps", torch.tensor(100_001))


def test_a_file_of_format_version_1(recwarn) -> None:
    edit, net = load(FIRST), Net()
    assert b"".join(map(bytes, pack(edit))) == FIRST.read_bytes()
    assert edit.content == "3c9798a0912c8c197efbb47d29b0efd06bf12974e283a6d07b0d1e0bf38d0576"
    assert edit.strength == 1.0
    assert edit.recipe == {"members": 3, "text": 'a "quoted" é'}
    assert edit.made_by == {"tool": "tests", "version": "1"}
    assert edit.base.architecture == "net"
    kinds = [(row.parameter, row.kind, row.form, row.rank, row.coefficient) for row in edit.rows]
    assert sorted(kinds, key=str) == [
        ("bias", "add", "slices", None, 1.0),
        ("bias", "set", "elements", None, 1.0),
        ("bias", "set", "slices", None, 1.0),
        ("kernel", "add", "dense", None, 0.5),
        ("kernel", "add", "low-rank", 1, 0.5),
        ("weight", "add", "low-rank", 2, 1.0),
        ("weight", "scale", "slices", None, 1.0),
    ]
    stack = Stack(net)
    stack.push(edit)
    total = hashlib.sha256(b"".join(bytes(tensor_bytes(tensor)) for tensor in net.state_dict().values()))
    assert total.hexdigest() == "196fb6da6f3e28d06ed521069ff50b7993927058737ac84aeccf956fc2772750"
    stack.remove(edit)
    base = Net().state_dict()
    assert all(torch.equal(tensor, base[name]) for name, tensor in net.state_dict().items())
    assert not recwarn.list
