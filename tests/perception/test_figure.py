"""What a number may be called, and what it may be compared with."""

from dataclasses import replace

import pytest

from rewrite.errors import RewriteError
from rewrite.perception import Figure, Identity, extractor, same_column
from rewrite.perception.inception import PUBLISHED

from .conftest import TOY

LITE = extractor("lite0").identity


def figure(measure: str, identity: Identity, value: float = 2.0, samples: int = 1000, **more) -> Figure:
    return Figure(measure, value, identity, (samples, samples), **more)


@pytest.mark.parametrize(
    ("measure", "identity", "label"),
    [
        ("FD", PUBLISHED, "FID"),
        ("KD", PUBLISHED, "KID"),
        ("paired KD", PUBLISHED, "paired KD (inception@299/2048)"),
        ("FD", LITE, "FD-lite0@64/112 (offline proxy, not FID)"),
        ("KD", LITE, "KD-lite0@64/112 (offline proxy, not KID)"),
        ("FD", Identity("dinov2-vitl14", "class token", 224), "FD-dinov2-vitl14@224/class token (not FID)"),
        ("precision k=5", LITE, "precision k=5 (lite0@64/112)"),
    ],
)
def test_the_name_of_a_figure(measure, identity, label):
    assert figure(measure, identity).label == label


@pytest.mark.parametrize(
    "changed",
    [{"weights": "0" * 64}, {"layer": "768"}, {"rounding": "none"}, {"interpolation": "bicubic, antialiased"},
     {"resolution": 256}, {"scale": "held-out"}, {"name": "mine"}],
)  # fmt: skip
def test_nothing_but_the_published_inception_is_called_fid(changed):
    other = replace(PUBLISHED, **changed)
    assert figure("FD", other).label != "FID"
    assert "not FID" in figure("FD", other).label


def test_times_an_anchor_with_its_interval():
    anchor = figure("paired KD", TOY, 0.5)
    found = figure("paired KD", TOY, 1.0, interval=(0.8, 1.2)).over(anchor)
    assert (found.value, found.interval) == (2.0, (1.6, 2.4))
    assert found.measure == "paired KD / anchor"
    assert anchor.over(anchor).interval is None
    with pytest.raises(RewriteError, match="is 0; expected more than 0"):
        anchor.over(figure("paired KD", TOY, 0.0))
    with pytest.raises(RewriteError, match="different measures"):
        same_column(found, anchor)


def test_the_difference_of_two():
    found = figure("FD", TOY, 5.0).minus(figure("FD", TOY, 3.0))
    assert (found.measure, found.value, found.interval) == ("dFD", 2.0, None)


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (figure("FD", TOY), figure("FD", LITE), "features of toy/features and of lite0@64/112 are not comparable"),
        (figure("FD", TOY), figure("KD", TOY), "FD and KD are different measures"),
        (figure("FD", TOY), figure("FD", TOY, samples=500), r"\(1000, 1000\) images and of \(500, 500\)"),
    ],
)
def test_figures_that_share_no_column(one, other, reason):
    for call in (lambda: same_column(one, other), lambda: one.over(other), lambda: one.minus(other)):
        with pytest.raises(RewriteError, match=reason):
            call()


def test_unbiased_figures_of_different_numbers_of_images_do():
    one, other = (figure("KD", TOY, samples=n, depends_on_samples=False) for n in (1000, 500))
    same_column(one, other)
