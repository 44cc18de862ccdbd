"""One look at the least and the greatest says what a look at every number says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edits.finite import finite

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from(TYPES),
    bad=st.sampled_from([None, float("nan"), float("inf"), -float("inf")]),
    place=st.integers(0, 2**20),
    turned=st.booleans(),
)
def test_it_is_what_asking_each_number_says(shape, dtype, bad, place, turned):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    if bad is not None and tensor.numel():
        tensor.view(-1)[place % tensor.numel()] = bad
    tensor = tensor.transpose(0, -1) if turned and tensor.ndim else tensor
    assert finite(tensor) == bool(torch.isfinite(tensor).all())


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [1, 7, 64, 4097])
def test_one_that_is_none_is_found_wherever_it_lies(dtype, size):
    for place in range(0, size, max(1, size // 50)):
        tensor = torch.zeros(size, dtype=dtype)
        tensor[place] = torch.nan
        assert not finite(tensor)


def test_the_largest_numbers_there_are_are_numbers():
    assert finite(torch.tensor([torch.finfo(torch.float32).max, torch.finfo(torch.float32).min]))
