"""Precision, recall, density and coverage against loops and torch-fidelity; their laws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewrite.errors import RewriteError
from rewrite.perception import Identity, manifold, prdc

from .conftest import features, normal

NAMES = ("precision", "recall", "density", "coverage")


def four(real: torch.Tensor, made: torch.Tensor, k: int = 5) -> list[float]:
    found = prdc(features(real), features(made), k=k)
    return [getattr(found, name).value for name in NAMES]


def slow(real: torch.Tensor, made: torch.Tensor, k: int) -> list[float]:
    def reach(points: torch.Tensor, i: int) -> float:
        return sorted(float((points[i] - points[j]).norm()) for j in range(len(points)) if j != i)[k - 1]

    real, made = real.double(), made.double()
    real_reach = [reach(real, i) for i in range(len(real))]
    made_reach = [reach(made, j) for j in range(len(made))]
    apart = [[float((r - m).norm()) for m in made] for r in real]
    rows, columns = range(len(real)), range(len(made))
    balls = [sum(apart[i][j] < real_reach[i] for i in rows) for j in columns]
    return [
        sum(count > 0 for count in balls) / len(made),
        sum(any(apart[i][j] < made_reach[j] for j in columns) for i in rows) / len(real),
        sum(balls) / len(made) / k,
        sum(any(apart[i][j] < real_reach[i] for j in columns) for i in rows) / len(real),
    ]


@pytest.fixture(params=[4, 1024])
def _rows(request, monkeypatch):
    monkeypatch.setattr(manifold, "ROWS", request.param)


@pytest.mark.usefixtures("_rows")
@given(st.integers(4, 14), st.integers(4, 14), st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_they_are_their_definitions(n, m, k, seed):
    real, made = normal(seed, n, 3), 0.7 * normal(seed + 1, m, 3) + 0.5
    assert four(real, made, k) == pytest.approx(slow(real, made, k), abs=1e-12)


def test_precision_and_recall_are_torch_fidelitys(torchvision):
    from torch_fidelity import metric_prc as theirs

    real, made = normal(0, 300, 12), 0.8 * normal(1, 250, 12) + 0.2
    found = theirs.prc_features_to_metric(
        made.double(), real.double(), prc_neighborhood=3, prc_batch_size=100, save_cpu_ram=True, verbose=False
    )
    expected = [found[theirs.KEY_METRIC_PRECISION], found[theirs.KEY_METRIC_RECALL]]
    assert four(real, made, 3)[:2] == pytest.approx(expected, abs=1e-6)
    assert 0.05 < min(expected) < max(expected) < 0.99


@pytest.mark.usefixtures("_rows")
def test_identity_is_one_everywhere():
    x = 20 * normal(2, 61, 9) + 3
    assert four(x, x.clone()) == [1, 1, 1, 1]


def test_order_and_rotation_change_nothing():
    real, made = normal(3, 60, 6).double(), 0.8 * normal(4, 60, 6).double()
    turn = torch.linalg.qr(normal(5, 6, 6).double()).Q
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert four(real[order] @ turn, made @ turn) == pytest.approx(four(real, made), abs=1e-12)


def test_precision_and_recall_change_places_with_the_samples():
    real, made = normal(6, 60, 6), 0.6 * normal(7, 60, 6)
    assert four(real, made)[:2] == four(made, real)[1::-1]


def test_what_each_of_them_sees():
    real, apart = normal(8, 200, 4), normal(9, 200, 4)
    alike = four(real, apart)
    assert alike[0] > 0.8
    assert alike[1] > 0.8
    assert alike[2] == pytest.approx(1, abs=0.2)
    assert alike[3] > 0.9
    assert four(real, apart + 100) == [0, 0, 0, 0]
    narrow = four(real, 0.1 * apart)
    assert narrow[0] == 1
    assert narrow[1] < 0.2
    assert narrow[3] < 0.7


def test_a_sample_collapsed_to_one_image():
    precision, recall, density, coverage = four(normal(10, 100, 4), torch.zeros(100, 4))
    assert (precision, recall) == (1, 0)
    assert density > 1
    assert coverage < 0.5


@pytest.mark.parametrize("k", [0, 5])
def test_neighbours_that_there_are_not(k):
    with pytest.raises(RewriteError, match=f"order {k} were asked of 5 images; expected 1 <= k < images"):
        four(normal(0, 9, 2), normal(0, 5, 2), k)


def test_features_of_two_extractors_are_not_compared():
    with pytest.raises(RewriteError, match="not comparable"):
        prdc(features(normal(0, 9, 2)), features(normal(0, 9, 2), Identity("other")))
