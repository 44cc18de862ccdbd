from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edits import EditError
from rewrite.errors import RewriteError
from rewrite.report import sheets

SIZE = 32


def flat(*levels: float, side: int = 64) -> torch.Tensor:
    return torch.stack([torch.full((3, side, side), float(level)) for level in levels])


def test_every_image_is_where_its_row_and_column_say() -> None:
    picture = sheets.sheet([("base", flat(-1, 0)), ("edited", flat(1, -1))], ["7", "8"], SIZE)
    pixels = np.asarray(picture)
    pitch = SIZE + sheets.GUTTER
    right = picture.width - sheets.MARGIN - SIZE // 2
    low = picture.height - sheets.MARGIN - SIZE // 2
    assert pixels[low - pitch, right - pitch].tolist() == [0, 0, 0]
    assert pixels[low - pitch, right].tolist() == [128, 128, 128]
    assert pixels[low, right - pitch].tolist() == [255, 255, 255]
    assert pixels[low, right].tolist() == [0, 0, 0]


def test_labels_and_captions_are_written_outside_of_the_images() -> None:
    bare = np.asarray(sheets.sheet([("", flat(1, 1))], (), SIZE))
    assert (bare == 255).all()
    captioned = np.asarray(sheets.sheet([("glasses", flat(1, 1))], ["seed 7", "8"], SIZE))
    inked = np.argwhere(captioned.min(-1) < 200)
    assert len(inked)
    height, width = captioned.shape[:2]
    inside = (inked[:, 0] >= height - sheets.MARGIN - SIZE) & (
        inked[:, 1] >= width - sheets.MARGIN - 2 * SIZE - sheets.GUTTER
    )
    assert not inside.any()


def test_a_long_label_takes_lines_instead_of_width() -> None:
    short = sheets.sheet([("one", flat(0))], (), SIZE)
    long = sheets.sheet([("everybody wears glasses and nobody minds it", flat(0))], (), SIZE)
    assert long.width < short.width + 2 * sheets.LEAST_LABEL_WIDTH


def test_images_are_resized_once_and_antialiased() -> None:
    stripes = torch.ones(1, 3, 64, 64)
    stripes[..., ::2] = -1
    small = sheets.shrink(stripes, 16)
    assert small.shape == (1, 3, 16, 16)
    assert small[..., 2:-2].abs().max() < 0.1
    assert sheets.shrink(small, 16) is small


def test_images_keep_their_shape() -> None:
    assert sheets.shrink(torch.zeros(1, 3, 32, 64), 16).shape == (1, 3, 8, 16)


@pytest.mark.parametrize(("count", "columns", "lines"), [(1, 1, 1), (4, 2, 2), (5, 3, 2), (9, 3, 3)])
def test_a_grid_is_nearly_square(count: int, columns: int, lines: int) -> None:
    picture = sheets.grid(flat(*[0.0] * count), (), SIZE)
    assert picture.width == 2 * sheets.MARGIN + columns * (SIZE + sheets.GUTTER) - sheets.GUTTER
    assert picture.height == 2 * sheets.MARGIN + lines * (SIZE + sheets.GUTTER) - sheets.GUTTER


def test_the_same_sheet_is_the_same_file(tmp_path: Path) -> None:
    images = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for name in ("one.png", "other.png"):
        sheets.save(sheets.sheet([("row", images)], range(3), SIZE), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    assert Image.open(tmp_path / "one.png").mode == "RGB"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="cannot be written"):
        sheets.save(Image.new("RGB", (4, 4)), tmp_path / "missing" / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_no_images_make_no_sheet() -> None:
    with pytest.raises(RewriteError, match="no images"):
        sheets.sheet([])
    with pytest.raises(RewriteError, match="no images"):
        sheets.grid(torch.empty(0, 3, 8, 8))


def test_bytes_are_drawn_as_the_numbers_they_came_from() -> None:
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    drawn = [sheets.grid(given, size=16).tobytes() for given in (images, sheets.levels(images))]
    assert drawn[0] == drawn[1]
    assert sheets.shrink(sheets.levels(images), 8).shape == (2, 3, 8, 8)
