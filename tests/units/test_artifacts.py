"""Units that go with unreal images: a planted one, beside slow ways of counting."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.perception import Extractor, Features, Identity
from rewrite.units.artifacts import cleaned, rank_correlation, realism, suspects
from rewrite.units.features import World

PLANTED = 5


@pytest.fixture
def eye():
    """Sees how red an image is, more than anything else."""

    def network(images):
        red = images[:, :1] - images[:, 1:2]
        return torch.cat([F.avg_pool2d(images, 8).flatten(1), 10 * F.avg_pool2d(red, 8).flatten(1)], 1)

    return Extractor(Identity("toy", weights="none"), network)


def features(eye, values):
    return Features(values.float(), eye.identity)


def test_realism_is_its_definition(eye):
    generator = torch.Generator().manual_seed(0)
    real, made = torch.randn(30, 3, generator=generator), torch.randn(8, 3, generator=generator) * 2
    found = realism(features(eye, real), features(eye, made), k=3)
    radii = torch.stack([(real - one).norm(dim=1).sort().values[3] for one in real])
    kept = radii <= radii.median()
    slow = [max(float(r / (one - x).norm()) for r, x in zip(radii[kept], real[kept], strict=True)) for one in made]
    torch.testing.assert_close(found.float(), torch.tensor(slow), rtol=1e-4, atol=1e-5)
    with pytest.raises(RewriteError, match="neighbours"):
        realism(features(eye, real[:3]), features(eye, made), k=3)


def test_rank_correlation_shares_ranks():
    values = torch.tensor([[1.0, 5.0, 2.0], [2.0, 5.0, 2.0], [3.0, 5.0, 1.0], [9.0, 5.0, 0.0]])
    found = rank_correlation(values, torch.tensor([10.0, 20, 30, 40]))
    assert found[0] == pytest.approx(1)
    assert found[1] == 0
    assert found[2] == pytest.approx(-0.9486833)


def real_images(toy, eye, count):
    """The same world without doors."""
    kept = toy.module.paint.weight[PLANTED].clone()
    toy.module.paint.weight[PLANTED] = 0
    images = toy.synthesize(ws=World().styles(toy, 20, range(count)))
    toy.module.paint.weight[PLANTED] = kept
    return eye.of([images])


def test_the_unit_that_makes_images_unreal_is_suspected_and_silencing_it_helps(toy, eye):
    real = real_images(toy, eye, 200)
    found = suspects(toy, "body", real, eye, samples=200)
    assert found[0].unit == PLANTED
    assert found[0].z > 4
    assert sorted(one.unit for one in found) == list(range(8))
    table = cleaned(toy, "body", [PLANTED], real, eye, samples=200, controls=2)
    assert table.after.value < 0.5 * table.before
    for control in table.controls:
        assert PLANTED not in control.units
        assert control.value > 2 * table.after.value
    assert table.extractor
