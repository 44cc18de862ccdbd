"""Kernel distances against their definitions, torch-fidelity, and the spread that the interval claims."""

from statistics import NormalDist

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewrite.errors import RewriteError
from rewrite.perception import Identity, kernel, kid, paired_kid

from .conftest import features, normal

REACH = NormalDist().inv_cdf(0.975)
"""Standard errors to each side of a 95 % interval."""


def k(x: torch.Tensor, y: torch.Tensor) -> float:
    return float((x.double() @ y.double() / len(x) + 1) ** 3)


def slow_kid(x: torch.Tensor, y: torch.Tensor) -> float:
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(x[i], y[j]) for i in range(n) for j in range(m)) / (n * m)
    return xx + yy - 2 * xy


def slow_paired(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """The value, and its standard error."""
    n = len(x)
    rows = [
        sum(k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for j in range(n) if j != i) / (n - 1)
        for i in range(n)
    ]
    mean = sum(rows) / n
    return mean, 2 * (sum((row - mean) ** 2 for row in rows) / (n - 1)) ** 0.5 / n**0.5


def changed(seed: int, count: int, width: int, by: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Features, and those of the same seeds after an edit."""
    x = normal(seed, count, width)
    return x, x + by * normal(seed + 1, count, width) + by


@pytest.fixture(params=[3, 1024])
def _rows(request, monkeypatch):
    """Blocks of few rows, so that small samples have several."""
    monkeypatch.setattr(kernel, "ROWS", request.param)


@pytest.mark.usefixtures("_rows")
@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_both_are_their_definitions(n, m, width, seed):
    x, y = normal(seed, n, width), normal(seed + 1, m, width) + 1
    assert kid(features(x), features(y)).value == pytest.approx(slow_kid(x, y), rel=1e-9, abs=1e-12)
    one, other = changed(seed, n, width)
    found = paired_kid(features(one), features(other), level=0.95)
    value, error = slow_paired(one, other)
    assert found.value == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert found.interval == pytest.approx((value - REACH * error, value + REACH * error), rel=1e-6, abs=1e-12)


def test_kid_is_torch_fidelitys_with_one_subset_of_all(torchvision):
    from torch_fidelity import metric_kid as theirs

    x, y = normal(0, 300, 48), 1.1 * normal(1, 300, 48)
    found = theirs.kid_features_to_metric(
        x.double(), y.double(), kid_subsets=1, kid_subset_size=300, kid_kernel="poly", rng_seed=0, verbose=False
    )
    assert kid(features(x), features(y)).value == pytest.approx(found[theirs.KEY_METRIC_KID_MEAN], rel=1e-9)


@pytest.mark.usefixtures("_rows")
def test_identity_is_zero_to_the_bit():
    x = features(30 * normal(2, 50, 33) + 4)
    found = paired_kid(x, features(x.values.clone()))
    assert (found.value, found.interval) == (0.0, (0.0, 0.0))
    # The published estimator, which counts k(x_i, y_i), is far below it where seeds are shared.
    assert kid(x, x).value < -1


@pytest.mark.usefixtures("_rows")
def test_symmetry_order_and_rotation():
    x, y = (z.double() for z in changed(3, 40, 8))
    value = paired_kid(features(x), features(y)).value
    assert paired_kid(features(y), features(x)).value == pytest.approx(value, rel=1e-9)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert paired_kid(features(x[order]), features(y[order])).value == pytest.approx(value, rel=1e-9)
    assert kid(features(x[order]), features(y)).value == pytest.approx(kid(features(x), features(y)).value, rel=1e-9)
    turn = torch.linalg.qr(normal(4, 8, 8).double()).Q
    assert paired_kid(features(x @ turn), features(y @ turn)).value == pytest.approx(value, rel=1e-5)


def test_the_interval_claims_the_spread_that_there_is():
    found = [paired_kid(*map(features, changed(10 * seed, 150, 6))) for seed in range(60)]
    values = torch.tensor([one.value for one in found])
    errors = torch.tensor([(one.interval[1] - one.interval[0]) / 2 / REACH for one in found])
    assert 0.8 < errors.mean() / values.std() < 1.6
    truth = values.mean()
    assert sum(one.interval[0] <= truth <= one.interval[1] for one in found) >= 54


def test_unpaired_kid_is_unbiased_however_many_there_are():
    values = torch.tensor([kid(features(normal(s, 30, 4)), features(normal(s + 500, 20, 4))).value for s in range(200)])
    assert abs(values.mean()) < 3 * values.std() / 200**0.5


def test_a_higher_level_is_a_wider_interval():
    pair = [features(z) for z in changed(5, 40, 4)]
    low, high = paired_kid(*pair, level=0.99).interval
    assert low < paired_kid(*pair).interval[0] < paired_kid(*pair).interval[1] < high


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: paired_kid(features(normal(0, 4, 2)), features(normal(0, 5, 2))), "4 and 5 images; .* by seed"),
        (lambda: kid(features(normal(0, 1, 2)), features(normal(0, 5, 2))), "one image"),
        (lambda: kid(features(normal(0, 4, 2)), features(normal(0, 5, 2), Identity("b"))), "toy/features and of b"),
        (lambda: paired_kid(features(normal(0, 4, 2)), features(normal(0, 4, 2), Identity("b"))), "not comparable"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, reason):
    with pytest.raises(RewriteError, match=reason):
        call()
