"""What known changes score: nothing scores nothing, more of one kind scores more, and what is local stays local."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from reproduction import draw, harm, local, metrics, stability
from reproduction.harm import ANCHOR, Perturbation

import edits
from rewrite import hooks
from rewrite.check import check
from rewrite.check.gate import HELD_OUT
from rewrite.errors import RewriteError
from rewrite.perception import extractor

SAMPLES = 48


@pytest.fixture(scope="module")
def ground(generator, eyes) -> metrics.Ground:
    return metrics.Ground.of(generator, eyes, SAMPLES)


def test_identity_is_exactly_nothing_in_every_distance(ground):
    row = ground.row(Perturbation("identity"))
    assert (row.kernel, row.harm, row.frechet, row.frechet_change, row.distance) == (0, 0, 0, 0, 0)
    assert row.kernel_interval == row.harm_interval == row.distance_interval == (0, 0)
    assert (row.change, row.tone) == (0, 0)
    assert row.frechet_held == ground.null.value > 0
    assert row.manifold == ground.facts["null manifold"]


def test_the_anchor_is_the_unit_of_harm(ground):
    row = ground.row(ANCHOR)
    assert row.harm == 1
    assert row.frechet > 0
    assert row.distance > 0


def test_more_of_one_kind_scores_more(ground, generator):
    layer = draw.usual_layer(generator)
    noise = [ground.row(Perturbation("", draw.shaken(generator, layer, amount))) for amount in harm.NOISES]
    tint = [ground.row(Perturbation("", change=lambda x, by=by: harm.darker(x, by))) for by in (0.02, 0.1, 0.3)]
    for rows in (noise, tint):
        for figure in ("kernel", "frechet", "change", "distance"):
            values = [getattr(row, figure) for row in rows]
            assert values == sorted(values), figure
            assert values[0] < values[-1]


def test_a_collapse_is_seen_by_coverage_and_the_kernel(ground):
    row = ground.row(Perturbation("", change=lambda x: harm.collapsed(x, 0.9)))
    assert row.harm_interval[0] > 0
    assert row.manifold["coverage"] < ground.facts["null manifold"]["coverage"]


def test_every_perturbation_has_a_name_of_its_own_and_changes_something(generator):
    layer, base = draw.usual_layer(generator), draw.images(generator, range(4))
    assert layer.name == "synthesis.b16.conv1"
    found = list(harm.perturbations(generator, layer))
    assert found[0] == Perturbation("identity")
    assert len({one.name for one in found}) == len(found)
    for one in found[1:]:
        if one.name.startswith("collapse"):
            # Of four images it takes none.
            continue
        made = one.images(generator, range(4), base)
        assert made.shape == base.shape
        assert not torch.equal(made, base), one.name
        assert float(made.abs().max()) <= 1, one.name


@pytest.mark.parametrize("kind", ["generator", "normed"])
def test_zeroed_units_are_exactly_zero_wherever_they_are_read(kind, request):
    made = request.getfixturevalue(kind)
    layer = draw.usual_layer(made)
    reader = list(made.layers.values())[list(made.layers).index(layer.name) + 1]
    chosen = draw.units(layer, 5, 0)

    def keys() -> torch.Tensor:
        with hooks.observe({"key": reader.module}, last="key") as seen, torch.no_grad():
            seen.run(made.synthesize, made.latents(range(3)))
        return seen.inputs["key"]

    before = keys()
    with edits.applied(made.module, (draw.zeroed(made, layer, chosen), 1.0)):
        after = keys()
    rest = [unit for unit in range(layer.out_features) if unit not in chosen]
    assert before[:, chosen].any()
    assert not after[:, chosen].any()
    assert torch.equal(after[:, rest], before[:, rest])


def test_fewer_units_are_among_more(generator):
    layer = draw.usual_layer(generator)
    assert set(draw.units(layer, 3, 1)) < set(draw.units(layer, 7, 1))
    assert draw.units(layer, 7, 1) != draw.units(layer, 7, 2)


def test_a_rank_one_change_has_the_norm_that_was_asked(generator):
    layer = draw.usual_layer(generator)
    weight = generator.module.state_dict()[layer.weight]
    (change,) = draw.pushed(generator, layer, 0.3).operations[layer.weight]
    flat = change.form.dense.movedim(layer.in_axis, -1).flatten(0, -2)
    values = torch.linalg.svdvals(flat)
    assert float(values[0]) == pytest.approx(0.3 * float(weight.norm()), rel=1e-4)
    assert float(values[1]) < 1e-4 * float(values[0])


def test_a_pasted_square_is_nothing_outside_and_the_mean_of_a_map_says_otherwise(generator, eyes):
    layer = draw.usual_layer(generator)
    edit = draw.zeroed(generator, layer, draw.units(layer, 6, 0))
    pasted, whole = local.localities(generator, eyes, edit, 16)
    assert (pasted.outside, pasted.kernel_outside, pasted.change_outside) == (0, 0, 0)
    assert pasted.inside > 0
    assert 0 < pasted.map_outside < pasted.map_inside
    assert whole.outside > 0
    assert whole.kernel_outside != 0
    assert whole.inside == pasted.inside


def test_blocks_get_the_verdicts_of_the_gate(generator, eyes):
    layer = draw.usual_layer(generator)
    tried = {str(size): draw.shaken(generator, layer, size) for size in (0.001, 0.05, 1.0)}
    judged = list(stability.blocks(generator, eyes.eye, tried, count=2, samples=16, cap=32))
    assert [(one.edit, one.first) for one in judged] == [(name, first) for first in (0, 32) for name in tried]
    for one in judged:
        verdict = check(generator, [(tried[one.edit], 1.0)], eyes, samples=16, cap=32, first=one.first)
        assert (one.ended, one.samples) == (verdict.outcome, len(verdict.seen.seeds))
    ends = stability.summary(judged)
    assert ends["0.001"]["at last"] == {"PASS": 2}
    assert ends["1.0"]["at last"] == {"FAIL": 2}


def test_the_base_of_a_block_is_looked_at_once(generator, eyes, monkeypatch):
    layer, asked, real = draw.usual_layer(generator), [], draw.images

    def counted(made, seeds, edit=None):
        asked.append((seeds[0], edit is None))
        return real(made, seeds, edit)

    monkeypatch.setattr(draw, "images", counted)
    tried = {str(size): draw.shaken(generator, layer, size) for size in (0.001, 0.002, 1.0)}
    list(stability.blocks(generator, eyes.eye, tried, count=2, samples=16, cap=16))
    assert [first for first, base in asked if base] == [HELD_OUT, 0, 16]
    assert [first for first, base in asked if not base] == [0, 0, 0, 16, 16, 16]


def test_the_borderline_edit_is_about_as_harmful_as_the_anchor(generator):
    # Mean colours know no harm in weights that were random to begin with.
    layer, eye = draw.usual_layer(generator), extractor("lite0@32/112")
    size = stability.borderline(generator, eye, layer, samples=48)
    held = eye.of([draw.images(generator, range(HELD_OUT, HELD_OUT + 48))])
    seeds = range(stability.CALIBRATION, stability.CALIBRATION + 48)
    seen = stability.Block(generator, eye).seen(draw.shaken(generator, layer, size), seeds)
    assert 0.5 <= stability.findings(seen, held)["harm"].value <= 2


def test_units_of_which_nothing_is_known_are_refused(generator):
    odd = replace(draw.usual_layer(generator), units=None)
    with pytest.raises(RewriteError, match="not known what the units of"):
        draw.zeroed(generator, odd, [0])
    with pytest.raises(RewriteError, match="no layer of toy has 16 x 16 outputs"):
        draw.usual_layer(replace(generator, layers={}))
