"""The command, run and weighed in a process of its own."""

from __future__ import annotations

import pytest
from reproduction import cost, draw

from rewrite import models
from rewrite.errors import RewriteError


def test_a_check_is_timed_and_weighed(generator, tmp_path):
    model, edit = tmp_path / "toy.safetensors", tmp_path / "edit.safetensors"
    models.save(generator, model)
    draw.shaken(generator, draw.usual_layer(generator), 0.001).save(edit)
    found = cost.run("warm", str(model), edit, samples=16, threads=1)
    assert (found.what, found.verdict) == ("warm", "PASS")
    assert found.seconds > 0
    assert 50 < found.peak / 2**20 < 50_000


def test_a_command_that_fails_is_not_measured(tmp_path):
    with pytest.raises(RewriteError, match="ended with code 2: "):
        cost.run("cold", "no-such-model", tmp_path / "no.safetensors", samples=16, threads=1)
