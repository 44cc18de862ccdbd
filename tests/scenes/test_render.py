"""Scenes: each its seed's alone, and their labels mean what their pixels show."""

import numpy as np
import pytest
from scenes import CLASSES, render, watermark
from scenes.classes import LABEL, coloured
from scenes.draws import POSITIONS, Draws
from scenes.geometry import Window, box, ellipse, trapezoid
from scenes.palette import GROUNDS, HOURS, KINDS
from scenes.scene import WATERMARKED, draw

SEEDS = np.arange(400)


@pytest.fixture(scope="module")
def rendered() -> tuple[np.ndarray, np.ndarray]:
    return render(SEEDS)


def share(labels: np.ndarray, name: str) -> np.ndarray:
    """Pixels of a class in each image."""
    return (labels == LABEL[name]).sum((1, 2))


def test_what_is_rendered(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = rendered
    assert images.shape == (400, 3, 64, 64)
    assert labels.shape == (400, 64, 64)
    assert images.dtype == labels.dtype == np.uint8
    assert labels.max() < len(CLASSES) == 14
    assert coloured(labels[:2]).shape == (2, 3, 64, 64)
    assert [part.shape for part in render([])] == [(0, 3, 64, 64), (0, 64, 64)]


def test_a_scene_depends_on_its_seed_alone(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    for seeds in ([399], [7, 399, 7, 130], range(390, 400), range(255, 400)):
        images, labels = render(seeds)
        assert np.array_equal(images, rendered[0][list(seeds)])
        assert np.array_equal(labels, rendered[1][list(seeds)])


def test_seeds_differ_up_to_the_last(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    assert len({image.tobytes() for image in rendered[0]}) == len(SEEDS)
    assert not np.array_equal(render([2**32 - 1])[0], render([0])[0])


def test_a_scene_never_takes_the_numbers_of_the_next() -> None:
    draws = Draws(SEEDS)
    for _ in range(POSITIONS):
        draws.unit()
    with pytest.raises(ValueError, match="next seed"):
        draws.unit()


def test_every_class_occurs_and_none_is_everywhere(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    labels = rendered[1]
    for name in CLASSES:
        pixels = share(labels, name)
        assert 0.002 < pixels.mean() / 64**2 < 0.6, name
        assert (pixels >= 12).mean() > 0.3, name
    for name in ("sky", "hill", "ground", "path", "wall", "roof", "window", "door"):
        assert (share(labels, name) > 0).all(), name


def test_windows_are_lit_at_night_and_only_then(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = rendered
    night = draw(SEEDS).hour == HOURS.index("night")
    red = np.array([image[0][label == LABEL["window"]].mean() for image, label in zip(images, labels, strict=True)])
    assert red[night].min() > 150
    assert red[~night].max() < 130


def test_domes_are_of_halls_and_spires_of_churches(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    labels, kind = rendered[1], draw(SEEDS).kind
    assert np.array_equal(share(labels, "dome") > 0, kind == KINDS.index("hall"))
    assert np.array_equal(share(labels, "spire") > 0, kind == KINDS.index("church"))


def test_the_watermark_is_the_same_in_one_corner(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = rendered
    marked = draw(SEEDS).watermark
    stencil = np.zeros((64, 64), bool)
    stencil[watermark.WINDOW.place] = watermark.letters() > 0
    assert np.array_equal(labels == LABEL["watermark"], marked[:, None, None] & stencil)
    assert (images[marked][:, :, stencil] == 255).all()
    assert abs(draw(np.arange(20_000)).watermark.mean() - WATERMARKED) < 0.015


def test_snow_is_white_and_nights_are_dark(rendered: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = rendered
    scene = draw(SEEDS)
    ground = np.array([i[:, m == LABEL["ground"]].mean() for i, m in zip(images, labels, strict=True)])
    snowy, day = scene.ground == GROUNDS.index("snow"), scene.hour == HOURS.index("day")
    assert ground[snowy & day].min() > ground[~snowy & day].max()
    brightness = images.mean((1, 2, 3))
    assert brightness[scene.hour == HOURS.index("night")].max() < brightness[day].min()


def test_coverage_sums_to_the_area() -> None:
    def number(value: float) -> np.ndarray:
        return np.array([value], np.float32)

    everywhere, x, y = Window(), number(31.3), number(28.7)
    assert box(everywhere, x - 5, y - 3, x + 5, y + 3).sum() == pytest.approx(60, abs=1e-3)
    assert ellipse(everywhere, x, y, number(9), number(6)).sum() == pytest.approx(np.pi * 54, rel=0.01)
    assert trapezoid(everywhere, x, y, y + 12, number(1), number(7)).sum() == pytest.approx(96, rel=0.01)
