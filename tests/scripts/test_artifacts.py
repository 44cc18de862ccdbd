"""Units of unreal images: the table in `scripts/reproduce.py`."""

from __future__ import annotations

import pytest
from reproduction import artifacts

from rewrite.check import View
from rewrite.generator import Generator


def test_each_layer_and_count_is_a_row_beside_units_by_lot(generator: Generator, eyes: View) -> None:
    layers = ["synthesis.b8.conv1", "synthesis.b16.conv1"]
    rows = list(artifacts.cleanings(generator, layers, (1, 3), eyes.eye, 16))
    assert [(row.cleaning.layer, len(row.cleaning.after.units)) for row in rows] == [
        (layer, count) for layer in layers for count in (1, 3)
    ]
    for row in rows:
        found = row.cleaning
        assert all(len(one.units) == len(found.after.units) for one in found.controls)
        assert found.after.value != found.before, "the units do something"
        assert float(row.cells[3]) == pytest.approx(found.before, rel=1e-3)
    assert rows[0].correlation >= rows[1].correlation, "the first is the most suspected"
    assert rows[0].cleaning.before == rows[1].cleaning.before
