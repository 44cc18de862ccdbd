"""The Fréchet distance against closed forms, a slow oracle and torch-fidelity; its laws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewrite.errors import RewriteError
from rewrite.perception import Identity, Moments, frechet_distance

from .conftest import features, normal


def moments(values: torch.Tensor) -> Moments:
    return Moments.of(features(values))


def far(x: torch.Tensor, y: torch.Tensor) -> float:
    return frechet_distance(moments(x), moments(y)).value


def skewed(seed: int, count: int, width: int) -> torch.Tensor:
    """Correlated features whose variances span four orders of magnitude, as those of networks do."""
    mix = normal(seed + 100, width, width) * torch.logspace(0, -2, width)
    return normal(seed, count, width) @ mix + normal(seed + 200, width)


def slow(x: torch.Tensor, y: torch.Tensor) -> float:
    """As it is written: tr (S^(1/2) T S^(1/2))^(1/2), with roots of eigenvalues."""

    def root(matrix: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T

    a, b = x.double().numpy(), y.double().numpy()
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    inner = root(root(s) @ t @ root(s))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * np.trace(inner))


@pytest.mark.parametrize(("count", "width"), [(40, 8), (300, 8), (400, 64)])
def test_it_is_its_formula(count, width):
    x, y = skewed(0, count, width), skewed(1, 2 * count, width)
    assert far(x, y) == pytest.approx(slow(x, y), rel=1e-9)


def test_it_is_torch_fidelitys(torchvision):
    from torch_fidelity import metric_fid as theirs

    x, y = skewed(2, 500, 96), skewed(3, 500, 96)
    found = theirs.fid_statistics_to_metric(
        *(theirs.fid_features_to_statistics(z.double()) for z in (x, y)), verbose=False
    )
    assert far(x, y) == pytest.approx(found[theirs.KEY_METRIC_FID], rel=1e-9)


def test_of_one_feature_it_is_of_means_and_deviations():
    x, y = normal(0, 50, 1), 3 * normal(1, 70, 1) + 2
    expected = (x.double().mean() - y.double().mean()) ** 2 + (x.double().std() - y.double().std()) ** 2
    assert far(x, y) == pytest.approx(float(expected), rel=1e-12)


def test_identity_is_zero_to_the_bit_and_near_it_nothing_is_lost():
    x = skewed(4, 200, 32)
    assert far(x, x) == 0.0
    assert far(x, x.clone()) == 0.0
    moved = x + 1e-3
    offset = (x.double().mean(0) - moved.double().mean(0)).square().sum()
    assert far(x, moved) == pytest.approx(float(offset), rel=1e-3)
    assert 0 < far(x, x * (1 + 2**-20)) < 1e-9


@given(st.integers(0, 2**31), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_it_is_symmetric_never_negative_and_knows_no_order(seed, width):
    x, y = skewed(seed, 20, width), skewed(seed + 1, 30, width)
    value = far(x, y)
    assert value >= 0
    assert far(y, x) == pytest.approx(value, rel=1e-9)
    shuffled = x[torch.randperm(20, generator=torch.Generator().manual_seed(seed))]
    assert far(shuffled, y) == pytest.approx(value, rel=1e-9)


def test_rotating_and_moving_both_changes_nothing():
    x, y = skewed(5, 300, 16).double(), skewed(6, 300, 16).double()
    turn = torch.linalg.qr(normal(7, 16, 16).double()).Q
    value = far(x, y)
    # Features are float32: that much is lost in turning them.
    assert far(x @ turn + 5, y @ turn + 5) == pytest.approx(value, rel=1e-5)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_moments_of_parts_merge_to_those_of_the_whole(sizes):
    x = skewed(8, sum(sizes), 5)
    parts = [features(part) for part in x.split(sizes)]
    whole, merged = moments(x), Moments.of(*parts)
    backwards = Moments.streamed(reversed(parts))
    assert merged.count == backwards.count == len(x)
    for found in (merged, backwards):
        torch.testing.assert_close(found.mean, whole.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.scatter, whole.scatter, rtol=1e-10, atol=1e-10)


def test_moments_are_numpys_even_far_from_the_origin():
    x = skewed(9, 100, 6) + 1e3
    torch.testing.assert_close(moments(x).covariance, torch.from_numpy(np.cov(x.double().numpy(), rowvar=False)))
    assert moments(x).spread == pytest.approx(np.cov(x.double().numpy(), rowvar=False).trace())


def test_fewer_images_than_features_are_refused_unless_asked_for():
    x, y = skewed(10, 20, 40), skewed(11, 20, 40)
    with pytest.raises(RewriteError, match=r"20 images in 40 features .* measure more than 40 images"):
        far(x, y)
    found = frechet_distance(moments(x), moments(y), singular=True).value
    # The oracle loses half the digits to directions in which nothing varies.
    assert found == pytest.approx(slow(x, y), rel=1e-5)
    with pytest.raises(RewriteError, match="1 images"):
        frechet_distance(moments(x[:1]), moments(y), singular=True)


def test_features_without_variance_are_at_the_distance_of_their_means():
    flat = torch.zeros(9, 3)
    assert far(flat, flat + 2) == pytest.approx(12)
    x = normal(12, 9, 3)
    assert far(x, flat) == pytest.approx(float(x.double().mean(0).square().sum()) + moments(x).spread)


def test_features_of_two_extractors_are_not_compared():
    x, y = normal(0, 9, 3), normal(1, 9, 3)
    one, other = moments(x), Moments.of(features(y, Identity("toy", layer="other")))
    for call in (lambda: frechet_distance(one, other), lambda: one.merge(other)):
        with pytest.raises(RewriteError, match=r"not comparable \(layer 'features' and 'other'"):
            call()
