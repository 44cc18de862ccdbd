"""The watermark: one word in one corner, as stencils of the whole image."""

from __future__ import annotations

import numpy as np

from scenes.geometry import SIZE, Window

FONT = {
    "S": (".####", "#....", "#....", ".###.", "....#", "....#", "####."),
    "T": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."),
    "O": (".###.", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
    "C": (".####", "#....", "#....", "#....", "#....", "#....", ".####"),
    "K": ("#...#", "#..#.", "#.#..", "##...", "#.#..", "#..#.", "#...#"),
}
WORD = "STOCK"
WINDOW = Window(top=54, bottom=SIZE, left=31, right=SIZE)


def letters() -> np.ndarray:
    """Where the word is, (h, w) of `WINDOW`: two pixels from the edges of the image."""
    rows = [".".join(FONT[letter][row] for letter in WORD) for row in range(7)]
    ink = np.array([[mark == "#" for mark in row] for row in rows], np.float32)
    stencil = np.zeros((WINDOW.bottom - WINDOW.top, WINDOW.right - WINDOW.left), np.float32)
    stencil[-9:-2, -len(rows[0]) - 2 : -2] = ink
    return stencil


def outline() -> np.ndarray:
    """The letters and the pixels around them, (h, w): dark behind white reads on snow too."""
    padded = np.pad(letters(), 1)
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    return np.max([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
