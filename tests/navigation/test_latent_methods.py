"""Methods of latent space: each against a slow or dense way, and each as an edit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import edits
import rewrite
from rewrite.generator import Generator
from rewrite.models import mobilestylegan, stylegan2
from rewrite.navigation.latent.boundary import boundary, conditioned, separate
from rewrite.navigation.latent.fold import difference
from rewrite.navigation.latent.ganspace import carried_back, ganspace
from rewrite.navigation.latent.interfacegan import higan, interfacegan
from rewrite.navigation.latent.principal import Principal
from rewrite.navigation.latent.sefa import factors, sefa
from rewrite.navigation.latent.sites import sites
from rewrite.navigation.latent.walk import codes, found
from rewrite.navigation.methods import Options

WIDTH = 16
CLOSE = 2e-5


@pytest.fixture(scope="module")
def styled() -> Generator:
    module = stylegan2.StyleGAN2.random(0, resolution=16, channels=(12, 12, 8), z=16, w=WIDTH, depth=2)
    return stylegan2.generator(module, name="small-stylegan2")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Brightness:
    """Bright pixels are day, the rest night."""

    classes = ("night", "day", "never")

    def __call__(self, images: Tensor) -> Tensor:
        grey = images.mean(1)
        return torch.stack([-grey, grey, torch.full_like(grey, -9.0)], 1)


def test_streaming_components_are_those_of_a_dense_pca():
    vectors = normal(300, 7) @ normal(7, 7, seed=1) + 100
    parts, halves = Principal.empty(7), [Principal.empty(7), Principal.empty(7)]
    for part in vectors.split(13):
        parts = parts.add(part)
    halves = [half.add(vectors[at]) for half, at in zip(halves, (slice(0, 50), slice(50, 300)), strict=True)]
    merged = halves[1].merge(halves[0])
    centred = vectors - vectors.mean(0)
    _, sizes, rows = torch.linalg.svd(centred, full_matrices=False)
    for one in (parts, merged):
        components, variances, shares = one.components(5)
        assert torch.allclose(one.mean, vectors.mean(0), atol=1e-10)
        assert torch.allclose(variances, sizes[:5].square() / 299, rtol=1e-9)
        assert torch.allclose(shares, sizes[:5].square() / sizes.square().sum(), rtol=1e-9)
        assert torch.allclose((components @ rows[:5].T).abs(), torch.eye(5, dtype=torch.float64), atol=1e-7)
    assert merged.merge(Principal.empty(7)).scatter.equal(merged.scatter)
    with pytest.raises(rewrite.RewriteError, match="components"):
        parts.components(8)
    with pytest.raises(rewrite.RewriteError, match="less one"):
        Principal.empty(7).add(vectors[:3]).components(3)


def test_sefa_is_sorted_and_equal_to_a_dense_oracle(styled):
    walks = sefa(styled, Options(count=WIDTH, more={"images": "all"}))
    values = [walk.facts["eigenvalue"] for walk in walks]
    assert values == sorted(values, reverse=True)
    # one affine layer at a time, its gain never mattering, and singular vectors in place of eigenvectors
    rows = [part.affine.weight for part in styled.module.modules() if hasattr(part, "affine")]
    stacked = torch.cat([row / row.norm(dim=1, keepdim=True) for row in rows]).double()
    _, sizes, vectors = torch.linalg.svd(stacked, full_matrices=False)
    assert torch.allclose(torch.tensor(values, dtype=torch.float64), sizes.square(), rtol=1e-4)
    for walk, vector in zip(walks, vectors, strict=True):
        (_, move), *rest = walk.moves
        assert all(other is move for _, other in rest)
        assert abs(float(move.offset @ vector)) == pytest.approx(1, abs=1e-5)
    values, vectors = factors([normal(9, 5), normal(4, 5, seed=1)], normalised=False)
    dense = torch.cat([normal(9, 5), normal(4, 5, seed=1)])
    assert torch.allclose(dense.T @ dense @ vectors.T, vectors.T * values)


def test_sefa_looks_at_the_layers_it_was_given(styled):
    few = sefa(styled, Options(layers=("2-3",), count=2, more={"images": "none"}))
    names = {site.name for site in sites(styled, layers=["2-3"])}
    assert {site.name for site, _ in few[0].moves} == names
    for walk in few:
        assert set(found(styled, [walk])[0].edit.touched) == {f"{name}.bias" for name in names}
    with pytest.raises(rewrite.RewriteError, match="nearest: images"):
        sefa(styled, Options(more={"image": "all"}))
    with pytest.raises(rewrite.RewriteError, match="so many numbers"):
        sefa(styled, Options(count=17))


@pytest.mark.parametrize("form", ["shift", "projective"])
@pytest.mark.parametrize("method", [sefa, ganspace])
def test_found_edits_are_the_moves(styled, method, form):
    more = {"form": form, "target": 1.5} | ({"samples": 300} if method is ganspace else {})
    walks = method(styled, Options(count=3, more=more))
    results = found(styled, walks)
    assert [one.name for one in results] == [walk.name for walk in walks]
    assert len({one.edit.content for one in results}) == 3
    for walk, one in zip(walks, results, strict=True):
        measured = difference(styled, one.edit, walk.moves, range(6))
        assert measured.largest < CLOSE < 1e-3 < measured.effect
        assert one.facts["fold_error"] < 1e-5
    # projections of one method are orthogonal, so all of them go together
    with edits.applied(styled.module, *((one.edit, 1.0) for one in results)):
        pass


def test_ganspace_of_codes_is_their_pca(styled):
    walks = ganspace(styled, Options(count=4, more={"samples": 2500}))
    drawn = codes(styled, 2500)
    _, sizes, rows = torch.linalg.svd(drawn - drawn.mean(0), full_matrices=False)
    for i, walk in enumerate(walks):
        offset = walk.moves[0][1].offset
        assert float(offset.norm()) == pytest.approx(float(sizes[i] / 2499**0.5), rel=1e-6)
        assert abs(float(torch.nn.functional.normalize(offset, dim=0) @ rows[i])) == pytest.approx(1, abs=1e-6)


def test_ganspace_of_activations_finds_the_code_behind_them():
    drawn, seen = normal(400, 5), normal(5, 40, seed=2)
    seen[3] *= 30
    directions, shares = carried_back(drawn, drawn @ seen, 2)
    assert abs(float(directions[0, 3])) > 0.99
    assert float(shares[0]) > 0.9


def test_a_boundary_is_found_where_it_was_planted():
    drawn = normal(800, 6)
    truth = torch.nn.functional.normalize(normal(6, seed=5), dim=0)
    one = boundary(drawn, (drawn @ truth + 0.3).tanh())
    assert float(one.normal @ truth) > 0.99
    assert one.confident > 0.98
    assert 0.8 < one.overall <= 1
    with pytest.raises(rewrite.RewriteError, match="tell nothing apart"):
        boundary(drawn, torch.zeros(800))
    with pytest.raises(rewrite.RewriteError, match="at least 8"):
        boundary(drawn, drawn[:, 0], share=0.001)


def test_a_separating_plane_leaves_the_widest_margin():
    points = torch.tensor([[-1.0, 5.0], [-1.0, -5.0], [1.0, 5.0], [1.0, -5.0]]).double()
    normal_, intercept = separate(points + 7, torch.tensor([-1.0, -1.0, 1.0, 1.0]).double())
    assert torch.allclose(normal_, torch.tensor([1.0, 0.0]).double(), atol=1e-6)
    assert intercept == pytest.approx(-7, abs=1e-5)


def test_a_conditioned_normal_is_orthogonal_to_its_conditions():
    one, others = normal(8), normal(3, 8, seed=1)
    left = conditioned(one, others)
    assert torch.allclose(others @ left, torch.zeros(3).double(), atol=1e-12)
    assert float(left.norm()) == pytest.approx(1)
    assert torch.allclose(conditioned(left, others), left)
    # of all unit vectors orthogonal to the conditions it is the nearest
    inside = torch.linalg.lstsq(others.T, one).solution @ others
    assert torch.allclose(left, torch.nn.functional.normalize(one - inside, dim=0))
    with pytest.raises(rewrite.RewriteError, match="nothing is left"):
        conditioned(others[0] + others[1], others)


def test_interfacegan_makes_the_day(styled):
    options = Options(segmenter=Brightness(), concept="day", more={"samples": 300})
    (walk,) = interfacegan(styled, options)
    (one,) = found(styled, [walk])
    z = styled.latents(range(1000, 1032))
    before = styled.synthesize(z).mean()
    with edits.applied(styled.module, (one.edit, 1.0)):
        assert styled.synthesize(z).mean() > before + 0.01
    with edits.applied(styled.module, (one.edit, -1.0)):
        assert styled.synthesize(z).mean() < before - 0.01
    # never varies, and is left out; the mirrored classes are told apart alike
    every = interfacegan(styled, replace(options, concept=None))
    assert {walk.name.split()[0] for walk in every} == {"night", "day"}
    own = {"samples": 300, "scores": lambda images: (images.mean(1) > 0).double().mean((1, 2))}
    (same,) = interfacegan(styled, Options(concept="day", more=own))
    assert torch.allclose(same.moves[0][1].offset, walk.moves[0][1].offset, atol=1e-2)
    with pytest.raises(rewrite.RewriteError, match="nothing scores"):
        interfacegan(styled, Options())
    with pytest.raises(rewrite.RewriteError, match="nearest"):
        interfacegan(styled, replace(options, concept="dya"))


def test_a_projection_sets_the_distance_to_the_boundary(styled):
    options = Options(segmenter=Brightness(), concept="day", more={"samples": 200, "form": "projective", "target": 2.0})
    (walk,) = interfacegan(styled, options)
    drawn = codes(styled, 50)
    (shifted,) = interfacegan(styled, replace(options, more={"samples": 200}))
    sigma, direction = walk.facts["sigma"], torch.nn.functional.normalize(shifted.moves[0][1].offset, dim=0)
    moved = walk.moves[0][1].at(drawn, 1.0)
    assert torch.allclose(moved @ direction + walk.facts["intercept"], torch.full((50,), 2 * sigma).double(), atol=1e-4)


def test_conditions_are_projected_out(styled):
    options = Options(segmenter=Brightness(), concept="day", more={"samples": 200, "conditions": ("night",)})
    with pytest.raises(rewrite.RewriteError, match="knows no"):
        interfacegan(styled, replace(options, more={"samples": 200, "conditions": ("nigth",)}))
    (left,) = interfacegan(styled, options)
    (night,) = interfacegan(styled, replace(options, concept="night", more={"samples": 200}))
    unit = torch.nn.functional.normalize(night.moves[0][1].offset, dim=0)
    assert abs(float(left.moves[0][1].offset @ unit)) < 1e-9


def test_higan_ranks_by_what_a_step_causes(styled):
    options = Options(segmenter=Brightness(), more={"samples": 200, "rescored": 16, "by_row": True})
    walks = higan(styled, options)
    scores = [walk.facts["rescored"] for walk in walks]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0
    best = walks[0].facts
    assert set(best["by_row"]) == {str(row) for row in range(6)}
    assert max(best["by_row"], key=best["by_row"].get) in {str(row) for row in best["rows"]}
    (one, *_) = found(styled, walks)
    assert difference(styled, one.edit, walks[0].moves, range(4)).largest < CLOSE


def test_mobile_walks_fold():
    module = mobilestylegan.MobileStyleGAN.random(0, style=WIDTH, depth=2, channels=(32, 32, 24, 16))
    generator = mobilestylegan.generator(module, name="small-mobile")
    for method, more in ((sefa, {}), (ganspace, {"samples": 100}), (ganspace, {"samples": 40, "activations": "conv1"})):
        walks = method(generator, Options(count=2, more=more))
        for walk, one in zip(walks, found(generator, walks), strict=True):
            assert difference(generator, one.edit, walk.moves, range(4)).largest < CLOSE
