"""Histograms, top-k, channel moments and paired sums against their definitions; halves make the whole to the bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewrite.errors import RewriteError
from rewrite.stats import Bins, ChannelMoments, Histogram, PairedSums, Top
from rewrite.stats.histogram import WIDE

AWKWARD = [0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30, 2.0**-16, -(2.0**-16), 1.0, -1.0, 3.9999, 65536.0]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bins", [WIDE, Bins(-8, 8, 4, signed=False), Bins(-2, 3, 2)])
def test_every_value_lies_in_its_bin(bins):
    values = torch.cat([normal(5000) * 8, torch.tensor(AWKWARD)])
    index, edges = bins.index(values).long(), bins.edges
    assert len(edges) == bins.count + 1
    assert (edges[1:] > edges[:-1]).all()
    bounded = values.double().clamp(edges[0], edges[-1])
    assert (bounded >= edges[index]).all()
    assert (bounded <= edges[index + 1]).all()


def test_counts_are_those_of_numpy():
    features = normal(3, 4, 5, 6) * 10
    found = Histogram.empty(4).add(features).counts
    for channel in range(4):
        edges = WIDE.edges.numpy()
        slow, _ = np.histogram(features[:, channel].double().numpy(), edges)
        assert (found[channel].numpy() == slow).all()


@given(st.integers(0, 100), st.sampled_from([0.5, 0.9, 0.99, 0.995, 0.999]))
def test_quantiles_have_the_rank_that_was_asked_for(seed, share):
    features = normal(8, 2, 64, 64, seed=seed) * 3 - 1
    found = Histogram.empty(2).add(features).quantile(share)
    for channel in range(2):
        rank = (features[:, channel] < found[channel]).double().mean()
        assert rank == pytest.approx(share, abs=5e-4)


def test_quantiles_of_exact_zeros_are_zero_and_of_nothing_are_nan():
    assert Histogram.empty(1).add(torch.zeros(1, 1, 4, 4)).quantile(0.995).eq(0).all()
    assert Histogram.empty(2).quantile(0.5).isnan().all()


def test_ranks_are_shares_below():
    features = normal(4, 3, 64, 64)
    histogram = Histogram.empty(3).add(features)
    at = normal(10, 3, seed=1)
    slow = torch.stack([(features[:, c].flatten()[:, None] < at[:, c]).double().mean(0) for c in range(3)], 1)
    torch.testing.assert_close(histogram.rank(at), slow, atol=2e-3, rtol=0)


def test_rows_may_be_conditions():
    values, rows = normal(2, 3, 4), torch.arange(2, dtype=torch.int32)[:, None, None]
    found = Histogram.empty(2).add_rows(values, rows)
    for row in range(2):
        alone = Histogram.empty(1).add(values[row][None, None])
        assert torch.equal(found.counts[row], alone.counts[0])


def test_histograms_of_different_bins_are_not_added():
    with pytest.raises(RewriteError, match="different bins"):
        Histogram.empty(1).merge(Histogram.empty(1, Bins(-1, 1, 2)))


@given(st.integers(0, 1000), st.integers(1, 7))
def test_halves_make_the_whole_to_the_bit(seed, cut):
    features = normal(8, 3, 4, 4, seed=seed).round(decimals=1)  # rounded, so that there are ties
    features[:, 2] = -features[:, 2].abs()
    parts = list(zip(features.split([cut, 8 - cut]), torch.arange(8).split([cut, 8 - cut]), strict=True))

    def top(images: torch.Tensor, index: torch.Tensor) -> Top:
        values = images.flatten(2).amax(2).T
        return Top.empty(3, 5, (2,)).add(values, index, torch.stack([index, index * 7], 1).expand(3, -1, -1))

    whole, halves = top(features, torch.arange(8)), [top(*part) for part in parts]
    for merged in (halves[0].merge(halves[1]), halves[1].merge(halves[0])):
        assert torch.equal(merged.values, whole.values)
        assert torch.equal(merged.index, whole.index)
        assert torch.equal(merged.payload, whole.payload)
    counted, halved = Histogram.empty(3).add(features), [Histogram.empty(3).add(images) for images, _ in parts]
    assert torch.equal(halved[1].merge(halved[0]).counts, counted.counts)
    moments, mean = ChannelMoments.empty(3).add(features), [ChannelMoments.empty(3).add(images) for images, _ in parts]
    merged = mean[1].merge(mean[0])
    assert torch.equal(merged.least, moments.least)
    assert torch.equal(merged.largest, moments.largest)
    torch.testing.assert_close(merged.mean, moments.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(merged.variance, moments.variance, rtol=1e-12, atol=1e-12)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(1, 6))
def test_the_largest_come_first_and_of_equals_the_first(values, k):
    table = Top.empty(1, k).add(torch.tensor([values]), torch.arange(len(values)), torch.zeros(1, len(values)).long())
    slow = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    kept = min(k, len(values))
    assert table.index[0, :kept].tolist() == slow
    assert table.index[0, kept:].eq(-1).all()
    assert table.values[0, kept:].eq(-math.inf).all()


def test_channel_moments_are_their_definition():
    features = normal(3, 4, 5, 6)
    moments = ChannelMoments.empty(4).add(features[:2]).add(features[2:])
    values = features.double().movedim(1, 0).flatten(1)
    torch.testing.assert_close(moments.mean, values.mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moments.variance, values.var(1, correction=0), rtol=1e-12, atol=1e-12)
    assert torch.equal(moments.largest, values.amax(1).float())


def test_paired_errors_are_those_of_the_differences():
    before = normal(50, 3).abs() + 1
    after = before * 0.5 + normal(50, 3, seed=1) * 0.1
    sums = PairedSums.empty(3).add(before[:20], after[:20]).merge(PairedSums.empty(3).add(before[20:], after[20:]))
    lost = (before - after).double()
    torch.testing.assert_close(sums.lost, lost.mean(0))
    torch.testing.assert_close(sums.lost_error, lost.std(0) / math.sqrt(50))
    torch.testing.assert_close(sums.share, lost.sum(0) / before.double().sum(0))
    slow = (lost - sums.share * before.double()).square().sum(0)
    torch.testing.assert_close(sums.share_error, (slow * 50 / 49).sqrt() / before.double().sum(0))


def test_the_error_of_a_share_is_its_spread_over_repetitions():
    shares, errors = [], []
    for seed in range(200):
        before = normal(40, 1, seed=seed).abs()
        sums = PairedSums.empty(1).add(
            before, before * torch.rand(40, 1, generator=torch.Generator().manual_seed(seed))
        )
        shares.append(float(sums.share))
        errors.append(float(sums.share_error))
    assert np.mean(errors) == pytest.approx(np.std(shares), rel=0.15)
