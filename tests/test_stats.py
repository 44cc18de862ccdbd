"""Streaming moments against their definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewrite.stats import SecondMoments, half_plane


def slow_moment(features: torch.Tensor, lag: tuple[int, int]) -> torch.Tensor:
    images, channels, height, width = features.shape
    total = torch.zeros(channels, channels, dtype=torch.float64)
    for n in range(images):
        for y in range(height):
            for x in range(width):
                to_y, to_x = y + lag[0], x + lag[1]
                if 0 <= to_y < height and 0 <= to_x < width:
                    total += torch.outer(features[n, :, y, x].double(), features[n, :, to_y, to_x].double())
    return total / (images * height * width)


@pytest.mark.parametrize("lag", [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)])
def test_every_lag_is_its_definition(lag):
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    moments = SecondMoments.empty(3, (2, 2)).add(features)
    torch.testing.assert_close(moments.at(lag), slow_moment(features, lag), rtol=1e-12, atol=1e-12)


def test_a_map_smaller_than_the_lag_counts_as_zero():
    moments = SecondMoments.empty(2, (2, 2)).add(torch.ones(1, 2, 1, 1))
    assert moments.at((0, 0)).eq(1).all()
    assert moments.at((2, -1)).eq(0).all()


@given(st.integers(1, 5), st.integers(1, 5))
def test_two_halves_merge_to_the_whole(first, second):
    features = torch.randn(first + second, 3, 4, 4, generator=torch.Generator().manual_seed(first))
    whole = SecondMoments.empty(3, (1, 1)).add(features)
    halves = [SecondMoments.empty(3, (1, 1)).add(part) for part in features.split([first, second])]
    merged = halves[0].merge(halves[1])
    assert (merged.positions, merged.images) == (whole.positions, whole.images)
    for lag in half_plane((1, 1)):
        torch.testing.assert_close(merged.at(lag), whole.at(lag), rtol=1e-12, atol=1e-12)


def test_half_plane_holds_one_of_each_pair():
    lags = half_plane((2, 2))
    assert lags[0] == (0, 0)
    assert len(lags) == 13
    assert set(lags) | {(-dy, -dx) for dy, dx in lags} == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}
