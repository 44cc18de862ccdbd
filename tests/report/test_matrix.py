from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from rewrite.errors import RewriteError
from rewrite.report import sheets
from rewrite.report.matrix import BAR, CELL, GAP, NOTHING, RAMP, SPACE, matrix, shade

WORDS = {"title": "t", "note": "n", "down": "of", "across": "to", "ticks": {"0": 0.0, "1": 1.0}}


def place(picture, colour):
    """Top, left, height and width of what has a colour, the scale below aside."""
    pixels = np.asarray(picture)[: -(sheets.MARGIN + BAR + SPACE + 24)]
    ys, xs = np.nonzero((pixels == colour).all(-1))
    return ys.min(), xs.min(), np.ptp(ys) + 1, np.ptp(xs) + 1


def test_every_value_is_a_cell_of_its_colour_in_its_row_and_column():
    values = [[0.1, 0.3, 0.5], [0.7, 0.9, None]]
    picture = matrix(values, ["one", "other"], ["one", "other", "all"], apart=1, **WORDS)
    found = [[place(picture, NOTHING if v is None else shade(v)) for v in row] for row in values]
    top, left = found[0][0][:2]
    width, height = CELL
    for j, row in enumerate(found):
        for i, cell in enumerate(row):
            offset = i * (width + GAP) + SPACE * (i == 2)
            assert cell == (top + j * (height + GAP), left + offset, height, width)


def test_darker_is_more():
    luma = [0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue in (shade(i / 50) for i in range(51))]
    assert all(a > b for a, b in pairwise(luma))
    assert shade(0.0) == RAMP[0][1]
    assert shade(1.0) == shade(9.0) == RAMP[-1][1]
    assert shade(-1.0) == shade(0.0)


def test_no_letter_is_cut_off():
    """The margin around the picture stays empty, however long the names are."""
    long = "an-edit-with-a-name-that-somebody-thought-long-about-before-it-was-saved-under-it"
    words = WORDS | {"title": "title " * 20, "note": "note " * 40}
    pixels = np.asarray(matrix([[0.1, 0.2]], [long], [long, "b"], **words)).min(-1)
    for side in (pixels[: sheets.MARGIN - 4], pixels[-4:], pixels[:, :8].T, pixels[:, -8:].T):
        assert (side == 255).all()


def test_a_table_that_is_not_full_is_no_matrix():
    with pytest.raises(RewriteError, match="full table"):
        matrix([[0.1]], ["a"], ["a", "b"], **WORDS)
    with pytest.raises(RewriteError, match="full table"):
        matrix([], [], [], **WORDS)
