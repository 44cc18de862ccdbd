"""The gate: nothing scores nothing, what is local stays local, and a verdict is as sure as its interval."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rewrite.check.look as looking
from rewrite.check import Bounds, Finding, Limit, Place, box, check, concept, read_bounds
from rewrite.check.anchor import jpeg
from rewrite.check.bounds import measured
from rewrite.check.findings import areas, diagnostics, findings, limits_of
from rewrite.check.gate import HELD_OUT, judge
from rewrite.check.look import Seen, features, images, look
from rewrite.check.place import composites
from rewrite.errors import RewriteError
from rewrite.perception import Features, Identity, Moments, frechet_distance, paired_kid

BOX = [0.25, 0.25, 0.75, 0.75]


def test_no_edit_scores_exactly_nothing(generator, eyes):
    seen = look(generator, [], range(24), replace(eyes, place=box(BOX)))
    held = features(generator, range(HELD_OUT, HELD_OUT + 24), eyes)
    found = findings(seen, held)
    assert {name: one.value for name, one in found.items()} == dict.fromkeys(found, 0.0)
    assert all(one.low == one.high == 0 for one in found.values())
    assert paired_kid(seen.features["base"], seen.features["edited"]).value == 0
    moments = [Moments.of(seen.features[name]) for name in ("base", "edited")]
    assert frechet_distance(*moments, singular=True).value == 0


def test_what_is_seen_of_parts_joins_to_what_is_seen_of_the_whole(generator, eyes, noise, monkeypatch):
    edit, view = noise(0.3), replace(eyes, place=box(BOX))
    # The bits of a convolution may hang on how many images share it.
    monkeypatch.setattr(looking, "BATCH", 16)
    whole = look(generator, [(edit, 1.0)], range(20), view)
    parts = Seen.join([look(generator, [(edit, 1.0)], some, view) for some in (range(16), range(16, 20))])
    monkeypatch.setattr(looking, "PARCEL", 1)
    parcels = look(generator, [(edit, 1.0)], range(20), view)
    for other in (parts, parcels):
        assert other.seeds == whole.seeds
        for name, values in whole.each.items():
            torch.testing.assert_close(other.each[name], values)
        for name, of in whole.features.items():
            torch.testing.assert_close(other.features[name].values, of.values)


def test_looking_leaves_the_generator_as_it_was(generator, eyes, noise):
    before = {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}
    look(generator, [(noise(0.5), 1.0)], range(4), eyes)
    assert all(torch.equal(before[name], tensor) for name, tensor in generator.module.state_dict().items())


def test_a_local_change_is_nothing_outside_and_the_mean_of_a_map_says_otherwise(generator, eyes):
    base = images(generator, range(8), eyes)
    inside = box(BOX).masks(base, base)
    edited = torch.where(inside[:, None], -base, base)
    inner, outer = composites(base, edited, inside)
    assert torch.equal(outer, base)
    assert torch.equal(inner, edited)
    assert (looking.distances(eyes, base, outer)[0] == 0).all()
    assert (looking.distances(eyes, base, inner)[0] > 0).all()
    leaked = eyes.distance.maps(base, edited)[:, 0] * ~inside
    assert leaked.sum() > 0


def test_a_larger_change_is_more_effect_and_tone(generator, eyes, noise, tint):
    held = features(generator, range(HELD_OUT, HELD_OUT + 32), eyes)
    for make, keys in ((noise, ("effect", "change")), (tint, ("tone", "change"))):
        found = [findings(look(generator, [(make(size), 1.0)], range(32), eyes), held) for size in (0.02, 1.0)]
        for key in keys:
            assert found[0][key].high < found[1][key].low


@pytest.mark.parametrize(("moved", "outcome"), [(0.02, "PASS"), (0.5, "FAIL")])
def test_harm_is_counted_in_anchors(generator, eyes, moved, outcome):
    """Of features that are drawn: base, what the anchor moves by 0.2, what the edit moves by more or less."""
    drawn = torch.randn(2, 400, 6, generator=torch.Generator().manual_seed(0))
    seen = look(generator, [], range(8), eyes)
    moves = {"base": 0.0, "anchor": 0.2, "edited": moved}
    features = {name: Features(drawn[0] + by, Identity("drawn")) for name, by in moves.items()}
    harm = findings(replace(seen, features=features), Features(drawn[1], Identity("drawn")))["harm"]
    assert harm.low < harm.value < harm.high
    assert harm.value == pytest.approx((moved / 0.2) ** 2, rel=0.6)
    assert judge("harm", harm, Limit(most=1)).outcome == outcome


def test_tone_is_the_shift_of_the_mean_colour(generator, eyes, tint):
    seen = look(generator, [(tint(0.02), 1.0)], range(8), eyes)
    base = images(generator, range(8), eyes)
    shift = ((base[:, 0] + 0.02).clamp(-1, 1) - base[:, 0]).mean((1, 2)) * 127.5 / 3
    torch.testing.assert_close(seen.each["tone"], shift, rtol=1e-3, atol=1e-4)


@given(st.floats(-5, 5), st.floats(0, 2), st.floats(0, 2), st.floats(-5, 5))
def test_only_a_whole_interval_decides(value, below, above, limit):
    finding = Finding(value, value - below, value + above, "")
    most, least = judge("x", finding, Limit(most=limit)), judge("x", finding, Limit(least=limit))
    assert most.outcome == ("PASS" if finding.high <= limit else "FAIL" if finding.low > limit else "MORE")
    assert least.outcome == ("PASS" if finding.low >= limit else "FAIL" if finding.high < limit else "MORE")
    both = judge("x", finding, Limit(most=limit + 1, least=limit))
    assert (both.outcome == "FAIL") == (finding.low > limit + 1 or finding.high < limit)


def test_harmless_passes_and_harmful_fails(generator, eyes, noise):
    assert check(generator, [(noise(0.001), 1.0)], eyes, samples=64, cap=64).outcome == "PASS"
    assert check(generator, [(noise(1.0), 1.0)], eyes, samples=64, cap=64).outcome == "FAIL"


def test_the_undecided_look_at_twice_as_many_until_the_cap(generator, eyes, noise):
    edit = noise(0.3)
    first = check(generator, [(edit, 1.0)], eyes, samples=16, cap=16)
    middle = Bounds(limits={"effect": Limit(most=first.findings["effect"].value)})
    found = check(generator, [(edit, 1.0)], eyes, samples=16, cap=40, bounds=middle)
    assert len(found.seen.seeds) == (
        32 if judge("", first.findings["effect"], middle.limits["effect"]).outcome == "MORE" else 16
    )
    assert check(generator, [(edit, 1.0)], eyes, samples=16, cap=31, bounds=middle).seen.seeds == tuple(range(16))


def test_a_verdict_is_json_and_the_same_every_time(generator, eyes, noise):
    one, two = (check(generator, [(noise(0.1), 0.5)], eyes, samples=16, cap=16) for _ in range(2))
    assert json.dumps(one.facts) == json.dumps(two.facts)
    assert one.facts["edits"][0]["strength"] == 0.5
    assert sorted(one.ranked()) == list(range(16))
    distances = one.seen.each["distance"]
    assert distances[one.ranked()[0]] == distances.max()


def test_bounds_that_were_written_hold_and_name_what_they_are_of(generator, eyes, noise, tmp_path):
    edit, other = noise(0.2), noise(0.1)
    verdict = check(generator, [(edit, 1.0)], eyes, samples=32, cap=32)
    bounds = measured(verdict.findings, limits_of(verdict.findings), edit.content, dict(verdict.conditions))
    bounds.save(tmp_path / "bounds.json")
    assert read_bounds(tmp_path / "bounds.json") == bounds
    again = check(generator, [(edit, 1.0)], eyes, samples=32, cap=32, bounds=bounds)
    assert again.outcome == "PASS"
    assert {one.name for one in again.judgements} == {"harm", "tone", "effect"}
    with pytest.raises(RewriteError, match="the bounds are of edit"):
        check(generator, [(other, 1.0)], eyes, samples=32, cap=32, bounds=bounds)
    with pytest.raises(RewriteError, match="measured with first seed 0, and this check has 7"):
        check(generator, [(edit, 1.0)], eyes, samples=32, cap=32, first=7, bounds=bounds)
    with pytest.raises(RewriteError, match="no finding 'harms' to bound here; nearest: harm"):
        check(generator, [(edit, 1.0)], eyes, samples=16, cap=16, bounds=Bounds(limits={"harms": Limit(most=1)}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "no JSON"),
        (b'{"format": 2, "limits": {"harm": {"most": 1}}}', "format"),
        (b'{"format": 1, "limits": {}}', "limits"),
        (b'{"format": 1, "limits": {"harm": {"most": NaN}}}', "limits"),
        (b'{"format": 1, "limits": {"harm": {"most": "1"}}}', "limits"),
        (b'{"format": 1, "limits": {"harm": {"more": 1}}}', "more"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_bounds_that_are_none_are_refused_in_a_sentence(tmp_path, content, reason):
    (tmp_path / "bounds.json").write_bytes(content)
    with pytest.raises(RewriteError, match=reason) as caught:
        read_bounds(tmp_path / "bounds.json")
    assert "\n" not in str(caught.value)


def test_a_concept_is_where_it_was_or_is(generator):
    class Halves:
        classes = ("left", "right")

        def __call__(self, images):
            line = torch.linspace(-1, 1, images.shape[-1]).expand(len(images), 1, *images.shape[2:])
            return torch.cat([-line + images.mean(), line], dim=1)

    place = concept(Halves(), "right")
    base, edited = torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5)
    inside = place.masks(base, edited)
    assert inside[0, :, 15:].all()
    assert not inside[0, :, :14].any()
    with pytest.raises(RewriteError, match="knows no 'rigth'; nearest: right"):
        concept(Halves(), "rigth")


def test_shares_of_classes_add_up(generator, eyes, tint):
    class Red:
        classes = ("red", "other")

        def __call__(self, images):
            return torch.stack([images[:, 0], images[:, 1:].mean(1)], dim=1)

    seen = look(generator, [(tint(0.5), 1.0)], range(8), replace(eyes, segmenter=Red()))
    said = areas(seen, Red.classes)
    assert math.isclose(sum(of["base"] for of in said.values()), 1, abs_tol=1e-6)
    assert said["red"]["edited"] > said["red"]["base"] + 3 * said["red"]["error"]


@pytest.mark.parametrize(
    "corners", [[0.5, 0, 0.5, 1], [0, 0, 1.2, 1], [-0.1, 0, 1, 1], [0, 0.9, 1, 0.1], [], [0.1, 0.2, 0.3]]
)
def test_a_box_is_a_box(corners):
    with pytest.raises(RewriteError, match="is no box"):
        box(corners)


def test_a_region_that_covers_no_pixel_is_refused(generator, eyes):
    tiny = box([0.5, 0.5, 0.501, 0.501])
    with pytest.raises(RewriteError, match="covers no pixel"):
        look(generator, [], range(2), replace(eyes, place=tiny))


def test_a_region_that_leaves_nothing_outside_is_refused(generator, eyes):
    with pytest.raises(RewriteError, match="nothing lies outside"):
        look(generator, [], range(2), replace(eyes, place=box([0, 0, 1, 1])))


def test_a_larger_region_buys_no_milder_unit_of_harm(generator, eyes, noise):
    """What happens outside is told in what JPEG does there, not in what it does to the whole image."""
    place = box([0.05, 0.05, 0.95, 0.95])
    seen = look(generator, [(noise(0.3), 1.0)], range(32), replace(eyes, place=place))
    held = features(generator, range(HELD_OUT, HELD_OUT + 32), eyes)
    whole = replace(seen, features=seen.features | {"anchor outside": seen.features["anchor"]})
    assert findings(seen, held)["harm"].value > 1.5 * findings(whole, held)["harm"].value


def test_the_anchor_is_a_file_of_the_image(generator, eyes):
    base = images(generator, range(4), eyes)
    seen = jpeg(base)
    assert seen.shape == base.shape
    assert 0 < (seen - base).abs().mean() < 0.1
    assert torch.equal(jpeg(base), seen)
    assert (jpeg(base, 50) - base).abs().mean() > (seen - base).abs().mean()


def test_diagnostics_tell_a_collapse(generator, eyes):
    alike = look(generator, [], range(40), eyes)
    collapsed = replace(
        alike, features=alike.features | {"edited": alike.features["base"][torch.zeros(40, dtype=torch.int64)]}
    )
    said = diagnostics(collapsed, features(generator, range(HELD_OUT, HELD_OUT + 40), eyes))
    assert said["manifold of edited"]["recall"] < said["manifold of base"]["recall"]


def test_nothing_that_is_no_check_begins(generator, eyes, noise):
    for given_ in ({"samples": 4}, {"samples": 64, "cap": 32}, {"first": HELD_OUT}):
        with pytest.raises(RewriteError, match="cannot be; expected one edit"):
            check(generator, [(noise(0.1), 1.0)], eyes, **given_)
    with pytest.raises(RewriteError, match="of 0 edits"):
        check(generator, [], eyes)


def test_a_place_may_be_anything_that_finds_masks(generator, eyes, noise):
    bright = Place("bright", lambda base, _: base.mean(1) > 0)
    found = check(generator, [(noise(0.2), 1.0)], replace(eyes, place=bright), samples=16, cap=16)
    assert found.conditions["place"] == "bright"
    assert {"outside", "change outside"} <= set(found.findings)
