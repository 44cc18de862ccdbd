"""Thresholds, whole-number counts and chance against slow ways of counting; parts, interruptions, planted units."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import edits
from rewrite.concepts import labels as label_maps
from rewrite.errors import RewriteError
from rewrite.stats import Overlaps, Top, information_quality
from rewrite.units import audit
from rewrite.units.chance import Chance, chance
from rewrite.units.counting import flat
from rewrite.units.features import World, sites
from rewrite.units.protocol import PROTOCOLS, Protocol
from rewrite.units.ranges import COARSE, Ranges, Under, measure, thresholds
from rewrite.units.scores import Comparison, LayerScores, Scores, score, unpacked, witness_grid
from rewrite.units.surroundings import surroundings

PLANTED = 5
WORLD = World()


def everything(generator, segmenter, stream, count):
    """Features of the toy's one layer and label maps, all at once."""
    with torch.no_grad():
        styles = WORLD.styles(generator, stream, range(count))
        images = generator.synthesize(ws=styles)
        start = torch.relu(generator.module.start(styles).unflatten(1, (4, 4, 4)))
        return generator.module.body(start), label_maps(segmenter, images)


def slow_iou(on, labels, concepts):
    """By loops, on the label map's pixels, which see the nearest cell."""
    on = on.repeat_interleave(labels.shape[1] // on.shape[2], 2).repeat_interleave(labels.shape[2] // on.shape[3], 3)
    found = np.zeros((on.shape[1], concepts))
    for unit in range(on.shape[1]):
        for concept in range(concepts):
            a, b = on[:, unit].numpy(), (labels == concept).numpy()
            found[unit, concept] = (a & b).sum() / max((a | b).sum(), 1)
    return found


def test_iou_is_that_of_the_pixels(toy, segmenter):
    found = sites(toy)
    limits = {"body": torch.linspace(-0.2, 0.4, 8)}
    scored = score(toy, found, PROTOCOLS["quantile"], limits, segmenter, range(21), world=WORLD)
    overlaps = scored.base.layers["body"].overlaps
    features, labels = everything(toy, segmenter, 1, 21)
    slow = slow_iou(features > limits["body"][:, None, None], labels, 3)
    assert (slow > 0).any()
    np.testing.assert_allclose(overlaps.iou.numpy(), slow, rtol=1e-12)
    assert overlaps.total == 21 * 16 * 16
    assert scored.base.images == 21
    torch.testing.assert_close(overlaps.concepts.double() / overlaps.total, scored.areas.before / 21)


def test_information_quality_is_its_definition():
    both, on, there, total = 30, 50, 70, 200
    table = np.array([[both, on - both], [there - both, total - on - there + both]]) / total
    rows, columns = table.sum(1), table.sum(0)
    shared = (table * np.log(table / np.outer(rows, columns))).sum()
    entropy = -(table * np.log(table)).sum()
    found = information_quality(torch.tensor(both), torch.tensor(on), torch.tensor(there), total)
    assert float(found) == pytest.approx(shared / entropy, rel=1e-12)
    same = Overlaps(torch.tensor([[4]]), torch.tensor([4]), torch.tensor([4]), 10)
    assert float(same.quality) == pytest.approx(1)
    nothing = Overlaps(torch.tensor([[0]]), torch.tensor([0]), torch.tensor([0]), 10)
    assert float(nothing.quality) == 0
    assert float(nothing.iou) == 0


def test_quantile_thresholds_leave_the_tail(toy, segmenter):
    ranges = measure(toy, sites(toy), Protocol("x", "quantile", 0.02), None, range(64), world=WORLD)
    limits = thresholds(ranges, Protocol("x", "quantile", 0.02))["body"]
    features, _ = everything(toy, segmenter, 2, 64)
    share = (features > limits[:, None, None]).double().mean((0, 2, 3))
    torch.testing.assert_close(share, torch.full_like(share, 0.02), atol=2e-3, rtol=0)


def test_chosen_thresholds_are_the_most_informative_of_all_edges(toy, segmenter):
    how = PROTOCOLS["iqr"]
    limits = thresholds(measure(toy, sites(toy), how, segmenter, range(64), world=WORLD), how)["body"]
    features, labels = everything(toy, segmenter, 2, 64)
    covered = F.one_hot(labels, 3).movedim(3, 1).double()
    concept = F.avg_pool2d(covered, 2).argmax(1)
    for unit in (0, PLANTED):
        best, chosen = -1.0, None
        for edge in COARSE.edges[1:-1].tolist():
            on = features[:, unit].double() >= edge
            for c in range(3):
                there = concept == c
                cells = [(a & b).sum() for a in (on, ~on) for b in (there, ~there)]
                table = np.array(cells, dtype=float).reshape(2, 2) / on.numel()
                a, b = table.sum(1), table.sum(0)
                fits = table[0, 0] > a[0] * b[0] and 1e-3 <= a[0] < 1 and b[0] >= 1e-3 and np.trace(table) > 0.8
                with np.errstate(all="ignore"):
                    logs = np.where(table > 0, np.log(table), 0)
                    quality = (table * (logs - np.log(np.outer(a, b)))).sum() / -(table * logs).sum()
                if fits and quality > best + 1e-12:
                    best, chosen = quality, edge
        assert chosen is not None
        assert float(limits[unit]) == pytest.approx(chosen, rel=1e-6)


def test_dissect_is_the_published_way_to_a_hundredth(toy, segmenter):
    found = audit(toy, segmenter=segmenter, samples=200, method="dissect", deals=10)
    choosing, _ = everything(toy, segmenter, 2, 200)
    features, labels = everything(toy, segmenter, 1, 200)

    def published(maps):
        """Bau et al. 2020: grid_sample without align_corners' stretch, zeros beyond the border."""
        places = F.affine_grid(torch.eye(2, 3).expand(len(maps), 2, 3), [len(maps), 1, 16, 16], align_corners=False)
        return F.grid_sample(maps, places, align_corners=False, padding_mode="zeros")

    limit = published(choosing).movedim(1, 0).flatten(1).quantile(0.99, 1)
    on = published(features) > limit[:, None, None]
    slow = slow_iou(on, labels, 3)
    ours = np.array([unit.meaning.ious for unit in found.layer("body").units])
    assert found.layer("body").grid == (16, 16)
    np.testing.assert_allclose(ours, slow, atol=0.01)
    assert slow.max() > 0.02


def test_dissect_meets_on_at_most_64_points_a_side():
    how = PROTOCOLS["dissect"]
    assert how.grid((4, 4), (1024, 1024)) == (64, 64)
    assert how.grid((4, 4), (16, 32)) == (16, 32)
    assert [piece.shape for piece in how.spread(torch.zeros(1, 2, 4, 4), (256, 256))] == [(1, 2, 64, 64)]
    labels = torch.randint(3, (2, 128, 128), generator=torch.Generator().manual_seed(0))
    planes = F.one_hot(labels, 3).movedim(3, 1).float()
    met = how.meeting(planes, (128, 128))
    most = F.avg_pool2d(planes, 2).argmax(1)
    assert torch.equal(met.argmax(1), most)
    assert (met.sum(1) == 1).all()
    assert PROTOCOLS["iqr"].meeting(planes, (128, 128)) is planes


def test_the_planted_unit_is_first_at_the_least_p(toy, segmenter):
    found = audit(toy, segmenter=segmenter, samples=128, choose=64)
    assert found.ranked("door")[0][1:] == ("body", PLANTED)
    unit = found.layer("body").units[PLANTED]
    assert unit.meaning.concept == "door"
    assert unit.meaning.p == pytest.approx(1 / 1001)
    assert unit.meaning.z == max(u.meaning.z or 0 for u in found.layer("body").units)
    assert unit.meaning.holds
    assert unit.meaning.iou > 0.2
    assert "door" in found.layer("body").concepts


def independent(seed, images=40, units=10, concepts=4, side=8):
    """Smooth random features of one set of seeds, and label maps of another, both with habits of place."""
    generator = torch.Generator().manual_seed(seed)

    def smooth(count):
        noise = torch.randn(images, count, side + 4, side + 4, generator=generator)
        return F.avg_pool2d(noise, 5, 1) * 5 + torch.randn(1, count, side, side, generator=generator)

    on = smooth(units) > torch.linspace(0, 2.5, units)[:, None, None]
    labels = smooth(concepts).argmax(1)
    maps = F.one_hot(labels, concepts).movedim(3, 1).flatten(2).int()
    layer = LayerScores(
        None,
        torch.zeros(units),
        0,
        Top.empty(units, 1),
        on.flatten(2).to(torch.uint8),
        f"{side} x {side}",
        (side, side),
    )
    return Scores({"layer": layer}, {f"{side} x {side}": maps}, images)


def test_independent_features_are_seldom_called_meaningful():
    """At a family-wise 5 %, 13 or more of 100 would be seen once in 700 times."""
    found = [chance(independent(seed), deals=200, seed=seed) for seed in range(100)]
    wrong = sum(bool((each.p["layer"] <= 0.05).any()) for each in found)
    assert 0 < wrong <= 12


def test_chance_is_that_of_dealing_by_hand():
    scores, deals = independent(3, images=12, units=4, concepts=3), 200
    found: Chance = chance(scores, deals=deals, seed=9)
    on, maps = scores.layers["layer"].witnesses.double(), scores.labels["8 x 8"].double()
    generator = torch.Generator().manual_seed(9)
    orders = [torch.arange(12), *(torch.randperm(12, generator=generator) for _ in range(deals))]
    overlap = torch.stack([torch.einsum("nup,ncp->uc", on, maps[order]) for order in orders])
    beyond = overlap - torch.einsum("nup,mcp->uc", on, maps) / 12
    judged = ~found.z["layer"].isnan()
    assert judged.any()
    z = beyond[0] / beyond[1:].square().mean(0).sqrt()
    torch.testing.assert_close(found.z["layer"][judged], z[judged], rtol=1e-3, atol=1e-3)
    far = beyond / beyond.sort(0, descending=True).values[:2].mean(0)
    highest = far[1:].masked_fill(~judged, -torch.inf).amax((1, 2))
    slow = (1 + (highest[:, None, None] >= far[0]).sum(0)) / (deals + 1)
    torch.testing.assert_close(found.p["layer"][judged], slow[judged].double(), atol=0.011, rtol=0)
    assert found.least == 1 / 201


def test_chance_is_kept_for_the_same_maps_alone():
    seen = []
    scores = independent(3)
    asked = {"deals": 20, "cache": True, "progress": lambda *said: seen.append(said)}
    first = chance(scores, **asked)
    dealt = len(seen)
    again = chance(scores, **asked)
    assert dealt
    assert len(seen) == dealt
    assert (again.images, again.deals) == (first.images, first.deals)
    assert torch.equal(again.p["layer"], first.p["layer"])
    assert torch.equal(again.z["layer"], first.z["layer"])
    chance(scores, **asked | {"deals": 21})
    chance(independent(4), **asked)
    assert len(seen) == 3 * dealt


def test_the_mean_over_deals_is_known_exactly():
    from itertools import permutations

    from rewrite.units.chance import _dealt, _overlaps

    scores = independent(5, images=5, units=3, concepts=2)
    on, maps = scores.layers["layer"].witnesses, scores.labels["8 x 8"]
    every = torch.stack(
        [torch.einsum("nup,ncp->uc", on.double(), maps[list(order)].double()) for order in permutations(range(5))]
    )
    ((_, beyond),) = _overlaps(on, maps, _dealt(5, 1, 0))
    torch.testing.assert_close(beyond[0].double(), every[0] - every.mean(0), rtol=1e-4, atol=1e-4)


def test_rare_pairs_do_not_drown_the_others():
    """A concept in few images makes large z by luck; a unit that is really its own concept's is still found."""
    scores = independent(2, images=60, units=20, concepts=4)
    layer, maps = scores.layers["layer"], scores.labels["8 x 8"]
    maps[3:, 3] = 0
    layer.witnesses[4:, 10:] = 0
    layer.witnesses[:, 0] = (maps[:, 0] > 0) & (torch.rand(60, 64, generator=torch.Generator().manual_seed(0)) > 0.3)
    found = chance(scores, deals=500)
    assert found.p["layer"][0, 0] == found.least


def test_units_and_concepts_that_are_hardly_there_are_not_judged():
    scores = independent(0)
    scores.layers["layer"].witnesses[:, 3] = 0
    scores.layers["layer"].witnesses[0, 3] = 1
    scores.layers["layer"].witnesses[:, 4] = 1
    z = chance(scores, deals=20).z["layer"]
    assert z[3].isnan().all(), "on in one image"
    assert z[0].isfinite().all()


def alike(one, other):
    """To the bit, but for sums of floats."""
    for (name, left), right in zip(flat(one).items(), flat(other).values(), strict=True):
        if left.dtype == torch.float64:
            torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
        else:
            assert torch.equal(left, right), name


def test_values_are_kept_under_the_concepts_that_are_seen_alone():
    random = torch.Generator().manual_seed(0)
    bins = torch.randint(COARSE.count, (6, 2, 3, 4), generator=random)
    concept = torch.tensor([3, 7, 149])[torch.randint(3, (6, 3, 4), generator=random)]
    concept[3:][concept[3:] == 3] = 0
    whole = Under.empty(2).add(bins, concept)
    assert whole.concepts.tolist() == [0, 3, 7, 149]
    for k, c in enumerate(whole.concepts):
        for unit in range(2):
            values = bins[:, unit][concept == c]
            assert torch.equal(whole.counts[k, unit], torch.bincount(values, minlength=COARSE.count))
    halves = Under.empty(2).add(bins[3:], concept[3:]).merge(Under.empty(2).add(bins[:3], concept[:3]))
    alike(halves, whole)


@pytest.mark.parametrize("cut", [32, 13, 47])
def test_two_halves_are_one_whole(toy, segmenter, cut):
    found, how = sites(toy), PROTOCOLS["iqr"]

    def ranges(rows) -> Ranges:
        return measure(toy, found, how, segmenter, rows, world=WORLD)

    whole = ranges(range(50))
    alike(ranges(range(cut, 50)).merge(ranges(range(cut))), whole)
    limits = thresholds(whole, how)

    def scores(rows) -> Comparison:
        return score(toy, found, how, limits, segmenter, rows, world=WORLD)

    alike(scores(range(cut, 50)).merge(scores(range(cut))), scores(range(50)))


class Stopped(Exception):
    pass


def test_an_interrupted_audit_goes_on_to_the_same_bits(toy, segmenter):
    whole = audit(toy, segmenter=segmenter, samples=100, deals=20, cache=False)

    def stop_at(phase, after):
        def progress(what, done, total):
            if what == phase and done >= after:
                raise Stopped

        return progress

    for phase, after in (("ranges", 32), ("ranges", 64), ("scores", 32), ("scores", 96)):
        with pytest.raises(Stopped):
            audit(toy, segmenter=segmenter, samples=100, deals=20, progress=stop_at(phase, after))
    seen = []
    found = audit(toy, segmenter=segmenter, samples=100, deals=20, progress=lambda *said: seen.append(said[:2]))
    assert min(done for what, done in seen if what == "scores") == 96
    assert found == whole
    again = []
    audit(toy, segmenter=segmenter, samples=100, deals=20, progress=lambda *said: again.append(said[:2]))
    assert ("scores", 0) not in again, "a finished audit is not measured again"


def test_a_kept_measurement_that_is_damaged_or_of_other_weights_is_not_taken(toy, segmenter, tmp_path):
    first = audit(toy, segmenter=segmenter, samples=40, deals=5)
    for path in (tmp_path / "home" / "audits").iterdir():
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    assert audit(toy, segmenter=segmenter, samples=40, deals=5) == first
    with torch.no_grad():
        toy.module.body.bias.add_(0.5)
    assert audit(toy, segmenter=segmenter, samples=40, deals=5) != first


def test_top_images_are_those_of_the_largest_peaks_with_their_masks(toy, segmenter):
    found = audit(toy, segmenter=segmenter, samples=60, deals=5)
    features, _ = everything(toy, segmenter, 1, 60)
    for unit in found.layer("body").units:
        peaks = features[:, unit.index].flatten(1).amax(1)
        on = peaks > unit.threshold
        order = peaks.argsort(descending=True, stable=True)[: min(8, int(on.sum()))]
        assert [seen.row for seen in unit.top] == order.tolist()
        for seen in unit.top:
            assert seen.value == pytest.approx(float(peaks[seen.row]))
            mask = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(seen.mask)), np.uint8), count=64)
            assert (mask.reshape(8, 8) == (features[seen.row, unit.index] > unit.threshold).numpy()).all()
            assert features[seen.row, unit.index][seen.cell] == seen.value


def silence(generator, name, axis):
    """An edit that sets all that `name` holds of the planted unit to 0."""
    shape = tuple(generator.module.state_dict()[name].shape)
    values = torch.zeros(*shape[:axis], 1, *shape[axis + 1 :])
    held = edits.Set(shape, edits.Slices(axis, torch.tensor([PLANTED]), values))
    return edits.Edit({name: (held,)}, edits.describe(generator.module, [name]))


def test_an_edit_is_audited_before_and_after(toy, segmenter):
    silenced = silence(toy, "body.weight", 1)
    before = audit(toy, segmenter=segmenter, samples=64, deals=20)
    found = audit(toy, segmenter=segmenter, samples=64, deals=20, edit=silenced)
    assert found.layer("body").units[PLANTED].meaning == before.layer("body").units[PLANTED].meaning
    with edits.applied(toy.module, (silenced, None)):
        alone = audit(toy, segmenter=segmenter, samples=64, deals=20)
    areas = {area.concept: area for area in found.areas}
    assert areas["door"].before > 0.01
    assert areas["door"].after == pytest.approx(alone.areas[1].before, abs=1e-12)
    assert areas["door"].change == pytest.approx(areas["door"].after - areas["door"].before, abs=1e-12)
    assert areas["door"].change < -5 * areas["door"].error < 0
    assert found.changed()[0][1:] == ("body", PLANTED)
    unit = found.layer("body").units[PLANTED]
    # Its bias keeps it below its threshold everywhere.
    assert unit.edited.on == 0
    assert unit.switched == pytest.approx(unit.meaning.on)
    assert [one.switched for one in found.layer("body").units if one.index != PLANTED] == [0] * 7
    assert found.edits[0]["content"] == silenced.content
    assert torch.equal(toy.module.paint.weight[PLANTED, 0, 1:3, 1:3], torch.full((2, 2), 4.0))


def test_a_unit_before_the_edit_has_not_changed_where_only_concepts_moved(toy, segmenter):
    found = audit(toy, segmenter=segmenter, samples=64, deals=20, edit=silence(toy, "paint.weight", 0))
    unit = found.layer("body").units[PLANTED]
    assert unit.edited.ious != unit.meaning.ious
    assert [change for change, _, _ in found.changed()] == [0] * 8
    areas = {area.concept: area for area in found.areas}
    assert areas["door"].change < -5 * areas["door"].error < 0


def test_without_a_segmenter_units_are_known_by_their_images(toy):
    found = audit(toy, samples=40)
    assert found.concepts == ()
    assert found.settings["protocol"] == "quantile"
    unit = found.layer("body").units[0]
    assert unit.meaning.concept is None
    assert unit.top
    assert 0 < unit.meaning.on < 0.05


def test_an_audit_is_plain_data(toy, segmenter, tmp_path):
    import csv
    import json

    found = audit(toy, segmenter=segmenter, samples=40, deals=5)
    found.save(tmp_path / "out")
    said = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert said["concepts"] == ["wall", "door", "sky"]
    assert len(said["layers"][0]["units"]) == 8
    unit = said["layers"][0]["units"][PLANTED]
    assert unit["meaning"]["iou"] == pytest.approx(found.layers[0].units[PLANTED].meaning.iou, rel=1e-5)
    assert unit["top"][0]["mask"]
    lines = list(csv.DictReader((tmp_path / "out" / "units.csv").open()))
    assert len(lines) == 8
    assert float(lines[PLANTED]["iou door"]) == pytest.approx(unit["meaning"]["ious"][1])


def test_every_family_can_be_audited(family, segmenter):
    found = audit(family, segmenter=segmenter, samples=20, choose=10, deals=5)
    assert [layer.name for layer in found.layers] == list(sites(family))
    assert sum(len(layer.units) for layer in found.layers) > 40


def test_what_cannot_be_audited_is_refused(toy, segmenter):
    with pytest.raises(RewriteError, match="no layer"):
        audit(toy, segmenter=segmenter, layers=["bdy"])
    with pytest.raises(RewriteError, match="no units"):
        audit(toy, segmenter=segmenter, layers=["paint"])
    with pytest.raises(RewriteError, match="no layers were given"):
        audit(toy, segmenter=segmenter, layers=[])
    with pytest.raises(RewriteError, match="expected 1 to"):
        audit(toy, segmenter=segmenter, samples=0)
    with pytest.raises(RewriteError, match="no protocol"):
        audit(toy, segmenter=segmenter, samples=4, method="disect")


def test_witness_grids_pool_by_whole_cells():
    assert witness_grid((16, 16)) == (16, 16)
    assert witness_grid((64, 128)) == (32, 32)
    assert witness_grid((66, 33)) == (22, 11)


def test_masks_are_packed_and_unpacked():
    from rewrite.units.scores import _topped

    on = torch.rand(3, 2, 5, 7) > 0.5
    cell = torch.tensor([[0, 34], [7, 8], [20, 1]])
    top = _topped(
        Top.empty(2, 3, (4 + 5,), torch.uint8), torch.arange(3), on, torch.tensor([[3.0, 2, 1], [1, 2, 3]]), cell.T
    )
    cells, masks = unpacked(top.payload, (5, 7))
    assert torch.equal(masks[0], on[:, 0])
    assert torch.equal(masks[1], on[:, 1].flip(0))
    assert cells[1].tolist() == [[0, 1], [1, 1], [4, 6]]


def test_two_segmenters_that_differ_in_what_is_rare_are_told_apart(toy):
    """No few images would tell them apart, and one's audit must not be given out as the other's."""

    class Rare:
        classes = ("rest", "rare")

        def __init__(self, least: float) -> None:
            self.least = least

        def __call__(self, images):
            rare = images.mean((1, 2, 3), keepdim=True).expand(-1, 1, *images.shape[2:]) - self.least
            return torch.cat([torch.zeros_like(rare), rare], dim=1)

    said = [surroundings(toy, sites(toy), Rare(least), World()) for least in (10.0, 11.0, 10.0)]
    assert said[0]["witness"] == said[1]["witness"]
    assert said[0] != said[1]
    assert said[0] == said[2]


def test_no_images_to_choose_thresholds_on_are_refused(toy, segmenter):
    with pytest.raises(RewriteError, match="choose 0"):
        audit(toy, segmenter=segmenter, samples=4, choose=0)
