"""Modules without numbers: of the same shapes, at no cost."""

import json
import subprocess
import sys

import pytest
import torch

from rewrite.models import FAMILIES
from rewrite.unfilled import unfilled

from . import test_contract as contract

ASK = """
import json, sys
from rewrite.models import registry
before = "torch._dynamo" in sys.modules or "sympy" in sys.modules
for family, geometry in json.load(sys.stdin):
    registry.empty(family, geometry, "this")
    print(family, before, "torch._dynamo" in sys.modules or "sympy" in sys.modules)
"""


@pytest.fixture(scope="module")
def made() -> list[torch.nn.Module]:
    found = [make().module for name, make in vars(contract).items() if name.startswith("random_")]
    return [module for module in found if hasattr(module, "geometry")]


def test_a_module_has_the_shapes_and_types_of_a_filled_one(made):
    for module in made:
        with unfilled():
            empty = type(module)(**module.geometry)
        assert all(tensor.is_meta for tensor in empty.state_dict().values())
        assert [(name, t.shape, t.dtype) for name, t in empty.state_dict().items()] == [
            (name, t.shape, t.dtype) for name, t in module.state_dict().items()
        ]


def test_no_family_imports_the_compiler(made):
    families = {kind: name for name, (kind, *_) in FAMILIES.items()}
    asked = [(families[type(module)], module.geometry) for module in made]
    assert {family for family, _ in asked} == set(FAMILIES)
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    assert [line.split()[1:] for line in done.stdout.splitlines()] == [["False", "False"]] * len(asked)


def test_what_is_made_afterwards_is_drawn_as_ever():
    torch.manual_seed(0)
    before = torch.randn(3)
    with unfilled():
        torch.randn(3)
    torch.manual_seed(0)
    assert torch.equal(before, torch.randn(3))
