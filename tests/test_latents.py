"""A latent depends on its name and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewrite.errors import RewriteError
from rewrite.latents import SEED_LIMIT, Row, Vector, draw


@given(st.lists(st.integers(0, SEED_LIMIT - 1), min_size=1, max_size=6))
def test_a_seed_is_numpys_draw_wherever_it_stands(seeds):
    drawn = draw(seeds, 5)
    for row, seed in zip(drawn, seeds, strict=True):
        expected = np.random.RandomState(seed).standard_normal(5).astype(np.float32)
        np.testing.assert_array_equal(row.numpy(), expected)


@pytest.mark.parametrize("row", [0, 1, 5, 63, 64, 200])
def test_a_row_is_that_row_of_the_stream_however_long(row):
    stream = np.random.RandomState(1).standard_normal(1000 * 7).reshape(1000, 7).astype(np.float32)
    np.testing.assert_array_equal(draw([Row(1, row)], 7)[0].numpy(), stream[row])


def test_a_vector_is_itself():
    assert torch.equal(draw([Vector((1.0, 2.0))], 2), torch.tensor([[1.0, 2.0]]))
    with pytest.raises(RewriteError, match="2 numbers and this generator takes 3"):
        draw([Vector((1.0, 2.0))], 3)


@pytest.mark.parametrize("seed", [-1, SEED_LIMIT, 1.5, "3", None, True])
def test_what_is_no_seed(seed):
    with pytest.raises(RewriteError, match="is no seed"):
        draw([seed], 4)


def test_a_row_out_of_range():
    with pytest.raises(RewriteError, match="rows run from"):
        draw([Row(1, 2**16)], 4)
