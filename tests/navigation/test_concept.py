"""Directions of a concept against the rest, and directions that are learnt."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edits
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation import where
from rewrite.navigation.concept import concept, most
from rewrite.navigation.learned import learned
from rewrite.navigation.methods import Options
from rewrite.navigation.metric import metric


class Panes(nn.Module):
    """Four panes of 16 px, each painted by rows of one layer's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.panes = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, z):
        levels = torch.tanh(self.panes(torch.tanh(self.start(z)))).reshape(-1, 1, 2, 2)
        return levels.repeat_interleave(8, 2).repeat_interleave(8, 3).expand(-1, 3, -1, -1)


@pytest.fixture
def panes() -> Generator:
    torch.manual_seed(0)
    return Generator.wrap(Panes().requires_grad_(False), latent=3, name="panes")


def asked(**changes):
    return Options(**({"layers": ("panes",), "count": 1, "latents": 8, "net": "pixels"} | changes))


def test_the_best_ratio_is_the_best_of_all():
    torch.manual_seed(0)
    one, other = (torch.randn(6, 6, dtype=torch.float64) for _ in range(2))
    within, rest = one @ one.T, other @ other.T
    ratios, vectors = most(within, rest, 2)
    floor = rest + 1e-2 * (within + rest).trace() / 6 * torch.eye(6, dtype=torch.float64)

    def ratio(x):
        return float(x @ within @ x) / float(x @ floor @ x)

    assert ratio(vectors[0]) == pytest.approx(float(ratios[0]))
    assert all(ratio(x) <= float(ratios[0]) for x in torch.randn(500, 6, dtype=torch.float64))
    assert abs(float(vectors[0] @ floor @ vectors[1])) < 1e-9


def test_a_region_is_changed_and_the_rest_is_left(panes):
    corner = where.box([0, 0, 0.5, 0.5])
    (found,) = concept(panes, asked(region=corner, more={"vectors": 16}))
    assert found.facts["share_inside"] > 0.999
    base = panes.synthesize(panes.latents(range(8)))
    with edits.applied(panes.module, (found.edit, 1.0)):
        moved = panes.synthesize(panes.latents(range(8)))
    look, coverage = metric("pixels"), corner(base)
    inside, rest = (float(look.distance(base, moved, part).mean()) for part in (coverage, 1 - coverage))
    assert inside > 100 * rest


def test_a_concept_is_a_place_on_each_image(panes):
    class Bright:
        classes = ("dark", "bright", "green")

        def __call__(self, images):
            grey = images.mean(1)
            return torch.stack([-grey, grey, grey - 9], 1)

    (found,) = concept(panes, asked(segmenter=Bright(), concept="bright", more={"vectors": 16}))
    assert 0.5 < found.facts["share_inside"] <= 1
    with pytest.raises(RewriteError, match="none of 8"):
        concept(panes, asked(segmenter=Bright(), concept="green", more={"vectors": 4}))
    with pytest.raises(RewriteError, match="nearest: bright"):
        concept(panes, asked(segmenter=Bright(), concept="brigth"))
    with pytest.raises(RewriteError, match="needs a place"):
        concept(panes, asked())


@pytest.mark.parametrize("basis", ["hessian", "spectrum"])
def test_learnt_directions_are_told_apart(panes, basis):
    more = {"basis": basis, "vectors": 3, "steps": 120, "batch": 16, "rate": 0.003}
    found = learned(panes, asked(count=2, more=more))
    assert [one.facts["accuracy"] for one in found] == sorted((one.facts["accuracy"] for one in found), reverse=True)
    assert found[0].facts["accuracy_of_all"] > 0.8
    base = panes.module.state_dict()["panes.weight"].clone()
    with edits.applied(panes.module, (found[0].edit, 1.0), (found[1].edit, -1.0)):
        assert not torch.equal(panes.module.state_dict()["panes.weight"], base)
    assert torch.equal(panes.module.state_dict()["panes.weight"], base)


def test_interrupted_learning_goes_on_to_the_same_bits(panes, tmp_path, monkeypatch):
    def run(progress=lambda *_: None):
        more = {"vectors": 3, "steps": 12, "batch": 4}
        return learned(panes, asked(count=2, more=more, progress=progress))

    whole = run()
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "another"))

    def stopping(what, done, total):
        if what == "learning directions" and done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stopping)
    started = []
    again = run(lambda what, done, _: started.append(done) if what == "learning directions" else None)
    assert started[0] == 7
    assert [one.edit.content for one in again] == [one.edit.content for one in whole]
    assert [one.facts for one in again] == [one.facts for one in whole]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"batch": -1}, "batch is -1"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"vectors": "many"}, "vectors is 'many'"),
        ({"step": 3}, "nearest: steps"),
        ({"basis": "sefa"}, "basis is 'sefa'"),
    ],
)
def test_learning_that_nobody_can_ask_for_is_refused(small, more, words):
    with pytest.raises(RewriteError, match=words):
        learned(small, Options(layers=("synthesis.b32.conv1",), count=1, net="pixels", more=more))


def test_learning_in_a_low_rank_ansatz_stays_low_rank(small):
    options = Options(
        layers=("synthesis.b32.conv1",), count=2, latents=2, net="pixels", size=8, ansatz=2,
        more={"vectors": 2, "steps": 1, "batch": 2},
    )  # fmt: skip
    for found in learned(small, options):
        (operation,) = found.edit.operations["synthesis.b32.conv1.weight"]
        assert operation.rank == 2
