"""Style channels and where they show, walks that follow a transform, and walks that are no edit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import edits
import rewrite
from rewrite.generator import Generator
from rewrite.models import dcgan, mobilestylegan, stylegan2
from rewrite.navigation.direction import Found
from rewrite.navigation.latent import methods
from rewrite.navigation.latent.channels import energies, leaves, styled, styles
from rewrite.navigation.latent.fold import difference, moved
from rewrite.navigation.latent.moves import ChannelShift
from rewrite.navigation.latent.refused import REASONS
from rewrite.navigation.latent.sites import sites
from rewrite.navigation.latent.steerability import steerability
from rewrite.navigation.latent.stylespace import consistency, stylespace
from rewrite.navigation.latent.surrogate import fitted, surrogate
from rewrite.navigation.latent.transforms import TRANSFORMS, warp
from rewrite.navigation.latent.walk import codes, found
from rewrite.navigation.methods import METHODS, Options, method
from rewrite.navigation.where import box

WIDTH = 16


@pytest.fixture(scope="module")
def small() -> Generator:
    module = stylegan2.StyleGAN2.random(0, resolution=16, channels=(12, 12, 8), z=16, w=WIDTH, depth=2)
    return stylegan2.generator(module, name="small-stylegan2")


@pytest.fixture(scope="module")
def mobile() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(0, style=WIDTH, depth=2, channels=(32, 32, 24, 16))
    return mobilestylegan.generator(module, name="small-mobile")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def bright(images: Tensor) -> Tensor:
    return images.mean((1, 2, 3))


def test_styles_are_what_the_sites_give(small, mobile):
    for generator in (small, mobile):
        drawn = codes(generator, 5)
        for site in styled(generator, sites(generator)):
            given = site.module(drawn.float())
            assert torch.allclose(styles(generator, site, drawn), given.double(), atol=1e-5)


def test_image_layers_are_ranked_only_when_asked(small):
    names = {site.name for site in styled(small, sites(small))}
    assert not any("torgb" in name for name in names)
    every = styled(small, sites(small), images=True)
    assert {site.name for site in every} - names == {f"synthesis.b{r}.torgb.affine" for r in (4, 8, 16)}


def test_energies_are_those_of_a_dense_jacobian(small):
    """Random signs against one forward difference a channel, in expectation."""
    chosen = styled(small, sites(small, layers=["2-3"]))
    drawn, where = codes(small, 3), box([0, 0, 0.5, 1])
    deviations = [styles(small, site, codes(small, 100)).std(0) for site in chosen]
    found_ = energies(small, chosen, deviations, drawn, Options(region=where), probes=150)
    for site, deviation, energy in zip(chosen, deviations, found_, strict=True):
        inside, outside = torch.zeros(len(deviation)).double(), torch.zeros(len(deviation)).double()
        step = 1e-3
        with torch.no_grad():
            for c in range(len(deviation)):
                ends = []
                for sign in (1, -1):
                    with moved([(site, ChannelShift((c,), deviation[c].reshape(1)))], sign * step):
                        ends.append(small.synthesize(ws=drawn.float()).double())
                slope = (ends[0] - ends[1]) / (2 * step)
                left, right = slope.square()[..., :8], slope.square()[..., 8:]
                inside[c], outside[c] = left.mean(), right.mean()
        assert torch.allclose(energy.inside, inside, rtol=0.35, atol=float(inside.max()) * 0.05)
        assert torch.allclose(energy.outside, outside, rtol=0.35, atol=float(outside.max()) * 0.05)


def test_leaves_let_gradients_end_at_styles(small):
    chosen = sites(small)[:2]
    with leaves(chosen) as kept:
        image = small.synthesize(ws=codes(small, 1).float())
        slopes = torch.autograd.grad(image.sum(), [kept[site.name] for site in chosen])
    assert all(float(slope.abs().max()) > 0 for slope in slopes)
    with torch.no_grad():
        assert not small.synthesize(ws=codes(small, 1).float()).requires_grad


def test_channels_of_a_concept_are_consistent_and_move_it(small):
    walks = stylespace(small, Options(count=6, more={"samples": 400, "pool": 200, "scores": bright}))
    ranks = [walk.facts["consistency"] for walk in walks]
    assert ranks == sorted(ranks, reverse=True)
    site, change = walks[0].moves[0]
    drawn = codes(small, 200)
    scores = bright(small.synthesize(ws=drawn.float()))
    best = drawn[torch.argsort(scores, descending=True, stable=True)[:10]]
    spread = styles(small, site, codes(small, 400))
    mine = consistency(styles(small, site, best), spread.mean(0), spread.std(0))[change.channels[0]]
    assert abs(float(mine)) == pytest.approx(ranks[0], rel=1e-4)
    assert float(mine) * float(change.by) > 0
    results = found(small, walks)
    assert all(sum(t.numel() for t in one.edit.tensors().values()) == 2 for one in results)
    assert difference(small, results[0].edit, walks[0].moves, range(4)).largest < 2e-5


def test_channels_of_a_region_need_one(small):
    with pytest.raises(rewrite.RewriteError, match="no region"):
        stylespace(small, Options(more={"samples": 50}))
    with pytest.raises(rewrite.RewriteError, match="two at least"):
        stylespace(small, Options(region=box([0, 0, 0.5, 0.5]), more={"samples": 1}))
    walks = stylespace(small, Options(count=4, latents=4, region=box([0, 0, 0.5, 0.5]), more={"samples": 100}))
    shares = [walk.facts["share"] for walk in walks]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.5


def test_a_network_without_styles_says_so():
    module = dcgan.DCGAN(z=8, channels=(8, 8, 3)).eval().requires_grad_(False)
    with pytest.raises(rewrite.RewriteError, match="has no styles"):
        stylespace(dcgan.generator(module, name="small"), Options(more={"samples": 10}))


def test_transforms_do_what_they_say():
    images = torch.zeros(1, 3, 8, 8)
    images[..., 3, 2] = 1
    moved_, inside = warp(images, right=2 / 8, down=1 / 8)
    assert torch.allclose(moved_[0, 0, 4, 4], torch.tensor(1.0))
    assert float(moved_.sum()) == pytest.approx(3)
    assert inside[0, 0].tolist() == [[0.0] * 8] + [[0.0] * 2 + [1.0] * 6] * 7
    ramp = torch.linspace(-1, 1, 9)[:8].add(0.125).expand(1, 3, 8, 8)
    zoomed, _ = warp(ramp, zoom=2.0)
    assert torch.allclose(zoomed, ramp / 2, atol=1e-6)
    for wanted in TRANSFORMS.values():
        same, mask = wanted.apply(ramp, 0.0)
        assert torch.allclose(same, ramp, atol=1e-6)
        assert bool(mask.all())
    brighter, _ = TRANSFORMS["brightness"].apply(images - 0.5, 0.25)
    assert torch.allclose(brighter, images - 0.25)


def test_a_walk_learns_a_colour(small):
    options = Options(latents=16, more={"transforms": ("red",), "steps": 30, "rate": 0.1})
    (walk,) = steerability(small, options)
    assert walk.facts["explained"][0] > 0.3
    (one,) = found(small, [walk])
    assert difference(small, one.edit, walk.moves, range(4)).largest < 2e-5
    z = small.latents(range(500, 516))
    before = small.synthesize(z)
    with edits.applied(small.module, (one.edit, 1.0)):
        change = (small.synthesize(z) - before).mean((0, 2, 3))
    assert float(change[0]) > 0.03
    assert float(change[0]) > 2 * float(change[1:].abs().max())


@pytest.mark.parametrize("name", REASONS)
def test_what_does_not_fold_is_refused(small, name):
    with pytest.raises(rewrite.RewriteError, match="does not fold into weights"):
        getattr(methods, name)(small, Options())


def test_an_affine_path_is_its_own_surrogate(small):
    matrix = torch.eye(WIDTH).double() + 0.1 * normal(WIDTH, WIDTH)
    walk = surrogate(small, lambda x: x @ matrix.float().T + 0.3, Options(more={"samples": 400, "ridge": 0.0}))
    assert walk.facts["explained"] == pytest.approx(1, abs=1e-6)
    assert walk.facts["image_error"] < 1e-3 * walk.facts["image_change"]
    (one,) = found(small, [walk])
    assert difference(small, one.edit, walk.moves, range(4)).largest < 2e-5


def test_a_bent_path_has_its_error_measured(small):
    direction = normal(WIDTH).float() * 0.5

    def rescaled(x: Tensor) -> Tensor:
        return torch.nn.functional.normalize(x + direction, dim=1) * x.norm(dim=1, keepdim=True)

    walk = surrogate(small, rescaled, Options(more={"samples": 600}))
    assert walk.facts["exact"] is False
    assert 0.5 < walk.facts["explained"] < 1
    assert 0 < walk.facts["image_error"] < walk.facts["image_change"]
    with pytest.raises(rewrite.RewriteError, match="its step on fresh codes"):
        surrogate(small, lambda x: x * (1 + torch.sin(50 * x)), Options(more={"samples": 100, "constant": True}))


def test_a_fit_is_least_squares():
    x, matrix, offset = normal(200, 5), normal(5, 5, seed=1), normal(5, seed=2)
    move = fitted(x, x @ matrix.T + offset, ridge=0.0)
    assert torch.allclose(move.at(x, 1.0), x + x @ matrix.T + offset, atol=1e-9)
    assert torch.allclose(fitted(x, x + 1, constant=True).at(x, 1.0), x + (x + 1).mean(0))


def test_the_registry_knows_the_methods_of_latent_space(small):
    asked = {"sefa": {}, "ganspace": {"samples": 64}, "first-layer": {"transforms": ("zoom",)}}
    for name, more in asked.items():
        results = method(name)(small, Options(count=1, more=more))
        assert all(isinstance(one, Found) and one.facts == one.edit.notes["direction"] | one.facts for one in results)
        assert len(results) == 1
    latent = {name for name, place in METHODS.items() if ".latent." in place}
    assert latent >= {*asked, *REASONS, "interfacegan", "higan", "stylespace", "steerability", "resefa", "continuous"}
    assert all(callable(method(name)) for name in latent)
