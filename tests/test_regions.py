"""Coverage of boxes, polygons and painted masks."""

from __future__ import annotations

import base64
import io
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rewrite import regions
from rewrite.errors import RewriteError

fraction = st.floats(0, 1)


def png_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return regions.PNG_URL + base64.b64encode(buffer.getvalue()).decode()


def test_a_box_covers_cells_by_their_share():
    covered = regions.box_coverage([0.25, 0.0, 0.625, 0.5], (4, 4))
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[:2, 1] = 1.0
    expected[:2, 2] = 0.5
    torch.testing.assert_close(covered, expected)


@given(fraction, fraction, fraction, fraction, st.integers(1, 33), st.integers(1, 33))
def test_a_box_covers_its_own_area_at_any_resolution(xa, xb, ya, yb, height, width):
    (x0, x1), (y0, y1) = sorted((xa, xb)), sorted((ya, yb))
    covered = regions.box_coverage([x0, y0, x1, y1], (height, width))
    assert 0 <= covered.min() <= covered.max() <= 1 + 1e-12
    assert float(covered.mean()) == pytest.approx((x1 - x0) * (y1 - y0), abs=1e-9)


@pytest.mark.parametrize("resolution", [(4, 4), (16, 16), (9, 31)])
def test_a_rectangular_polygon_is_nearly_the_box(resolution):
    box = [0.25, 0.125, 0.75, 0.5]
    x0, y0, x1, y1 = box
    polygon = regions.polygon_coverage([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], resolution)
    assert (polygon - regions.box_coverage(box, resolution)).abs().max() < 0.02
    assert float(polygon.mean()) == pytest.approx(0.1875, abs=0.002)


def test_a_mask_counts_brightness_times_opacity():
    picture = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    picture.paste((255, 255, 255, 255), (0, 0, 4, 4))
    covered = regions.mask_coverage(png_url(picture), (4, 4))
    assert covered[:2, :2].eq(1).all()
    assert covered.sum() == 4


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_a_white_mask_of_any_mode_covers_all(mode):
    picture = Image.new("L", (10, 6), 255).convert(mode)
    torch.testing.assert_close(regions.mask_coverage(png_url(picture), (3, 5)), torch.ones(3, 5, dtype=torch.float64))


def test_bounds_of_nothing_is_an_error():
    with pytest.raises(RewriteError, match="covers nothing"):
        regions.bounds(torch.zeros(4, 4))


def test_bounds():
    covered = torch.zeros(5, 6)
    covered[1:3, 2:6] = 0.1
    assert regions.bounds(covered) == (1, 2, 3, 6)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("data:image/gif;base64,AAAA", "begins with"),
        (regions.PNG_URL + "!!", "base64"),
        (regions.PNG_URL + base64.b64encode(b"no picture").decode(), "not a readable PNG"),
        (regions.PNG_URL + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode(), "not a readable PNG"),
    ],
)
def test_a_bad_mask_is_one_sentence(url, message):
    with pytest.raises(RewriteError, match=message):
        regions.mask_coverage(url, (4, 4))


def test_a_truncated_mask_is_one_sentence():
    url = png_url(Image.effect_noise((64, 64), 90))
    content = base64.b64decode(url.removeprefix(regions.PNG_URL))
    with pytest.raises(RewriteError, match="not a readable PNG"):
        regions.mask_coverage(regions.PNG_URL + base64.b64encode(content[: len(content) // 2]).decode(), (4, 4))


def test_a_mask_file_is_inlined(tmp_path):
    Image.new("L", (4, 4), 255).save(tmp_path / "mask.png")
    url = regions.inline("mask.png", tmp_path)
    assert regions.mask_coverage(url, (2, 2)).eq(1).all()
    assert regions.inline(url, tmp_path) == url
    with pytest.raises(RewriteError, match="cannot be read"):
        regions.inline("none.png", tmp_path)


def test_a_mask_that_is_no_picture_file_is_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large.png").write_bytes(bytes(regions.MASK_BYTES + 1))
    for mask, reason in (
        ("pipe", "no regular file"),
        ("/dev/zero", "no regular file"),
        (".", "no regular file"),
        ("large.png", "more than"),
        ("a\0b.png", "no file can have this name"),
        ("~nosuchuser/mask.png", "no such user"),
        (regions.PNG_URL + "ü", "not valid base64"),
    ):
        with pytest.raises(RewriteError, match=reason):
            regions.inline(mask, tmp_path)
