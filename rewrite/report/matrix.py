"""Numbers of everything against everything, as a picture that can be read at a glance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from rewrite.errors import RewriteError
from rewrite.report.sheets import FAINT, INK, MARGIN, PAPER, Font

CELL = 104, 52
GAP, SPACE = 2, 18
"""Pixels between cells, and before the columns that are set apart."""
LABEL = 200
NOTHING = (236, 236, 238)
RAMP = ((0.0, (232, 243, 233)), (0.3, (252, 211, 128)), (0.6, (238, 122, 62)), (1.0, (155, 22, 46)))
"""Colours of values from 0 to 1, as red, green and blue; in their lightness alone they still go one way."""
DARK = 115
"""Luma, 0 to 255, up to which letters are white."""
BAR = 14


def matrix(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    note: str,
    down: str,
    across: str,
    apart: int = 0,
    ticks: Mapping[str, float],
) -> Image.Image:
    """A cell for each value, its number in it, on a colour from 0 to 1 (and that of 1 beyond); None is a blank.

    `down` and `across` name the axes; the last `apart` columns stand a little off; `ticks` are values by name, marked
    on the scale below.
    """
    if not rows or [len(row) for row in values] != [len(columns)] * len(rows):
        raise RewriteError("the matrix does not have a value for each row and column; expected a full table")
    large, normal, small = (ImageFont.load_default(size=size) for size in (20, 15, 13))
    width, height = CELL
    names = [_lines(name, normal, LABEL, 2) for name in rows]
    heads = [_lines(name, normal, width - 8, 3) for name in columns]
    left = MARGIN + _wide([*(line for lines in names for line in lines), down], normal) + MARGIN
    step = width + GAP
    xs = [left + i * step + (SPACE if i >= len(columns) - apart else 0) for i in range(len(columns))]
    right = max(xs[-1] + width, *(MARGIN + _wide([line], font) for line, font in ((title, large), (note, small))))
    top = MARGIN + 30 + 26 + 24 + 20 * max(map(len, heads)) + 6
    bottom = top + len(rows) * (height + GAP)
    canvas = Image.new("RGB", (math.ceil(right) + MARGIN, bottom + SPACE + BAR + 24 + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN), title, INK, large)
    draw.text((MARGIN, MARGIN + 30), note, FAINT, small)
    draw.text((xs[0], MARGIN + 56), across, FAINT, small)
    draw.text((left - MARGIN, top - 6), down, FAINT, small, anchor="rs")
    for x, lines in zip(xs, heads, strict=True):
        draw.multiline_text((x + width / 2, top - 6), "\n".join(lines), INK, normal, "md", 3, "center")
    for j, (lines, row) in enumerate(zip(names, values, strict=True)):
        y = top + j * (height + GAP)
        middle = y + height / 2
        draw.multiline_text((left - MARGIN, middle), "\n".join(lines), INK, normal, "rm", 3, "right")
        for x, value in zip(xs, row, strict=True):
            colour = NOTHING if value is None else shade(value)
            draw.rectangle((x, y, x + width - 1, y + height - 1), colour)
            text = "" if value is None else f"{value:.2f}"
            draw.text((x + width / 2, middle), text, _ink(*colour), normal, anchor="mm")
    _scale(draw, (xs[0], bottom + SPACE), right - xs[0], ticks, small)
    return canvas


def shade(value: float) -> tuple[int, int, int]:
    """The colour of a value, between those of the ramp."""
    value = min(max(value, 0.0), 1.0)
    after = next(i for i, (at, _) in enumerate(RAMP) if value <= at)
    (low, one), (high, other) = RAMP[max(after - 1, 0)], RAMP[after]
    share = (value - low) / (high - low) if high > low else 0.0
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _ink(red: int, green: int, blue: int) -> tuple[int, int, int]:
    """What can be read on a colour, by its luma (ITU-R BT.601)."""
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > DARK else PAPER


def _scale(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], width: float, ticks: Mapping[str, float], font: Font
) -> None:
    """The colours from 0 to 1, with what they stand for below."""
    x, y = at
    for i in range(int(width)):
        draw.line((x + i, y, x + i, y + BAR - 1), shade(i / max(width - 1, 1)))
    for name, value in ticks.items():
        tick = x + min(max(value, 0.0), 1.0) * (width - 1)
        draw.line((tick, y, tick, y + BAR + 3), INK)
        draw.text((tick, y + BAR + 5), name, FAINT, font, anchor="ra" if value >= 1 else "la")


def _wide(lines: Sequence[str], font: Font) -> int:
    return math.ceil(max(font.getlength(line) for line in lines))


def _lines(text: str, font: Font, width: int, most: int) -> list[str]:
    """The text in lines that fit the width, at most so many; names have no spaces to break at."""
    lines = [""]
    for letter in text:
        if lines[-1] and font.getlength(lines[-1] + letter) > width:
            if len(lines) == most:
                lines[-1] = lines[-1][:-1] + "…"
                break
            lines.append("")
        lines[-1] += letter
    return [line.strip() for line in lines]


__all__ = ["matrix", "shade"]
