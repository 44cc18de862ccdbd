"""A place on one image, a class of a conditional model, and a strength that is a way to a place."""

from __future__ import annotations

import pytest
import torch

import edits
from rewrite.errors import RewriteError
from rewrite.models import biggan, sngan
from rewrite.navigation import Options, again, bench, calibrate, navigate
from rewrite.navigation.calibration import accepts
from rewrite.navigation.concept import concept
from rewrite.navigation.hessian import basis
from rewrite.navigation.latent.interfacegan import interfacegan
from rewrite.navigation.latent.regional import energies, lowrankgan, resefa
from rewrite.navigation.latent.sefa import sefa
from rewrite.navigation.latent.sites import sites
from rewrite.navigation.latent.stylespace import stylespace
from rewrite.navigation.latent.walk import found
from rewrite.navigation.metric import metric
from rewrite.navigation.where import Where, box

LAYER = "synthesis.b8.conv1"
CORNER = box([0, 0, 0.5, 0.5])


def conditional(kind: str):
    if kind == "sngan":
        return sngan.generator(sngan.SNGAN.random(0, z=8, side=3, channels=[12, 8], classes=4), name="small sngan")
    blocks = [[False, 64, 32], [True, 32, 16], [False, 16, 8], [True, 8, 4]]
    module = biggan.BigGAN.random(0, z=6, classes=4, embedding=4, width=4, blocks=blocks, attention=2)
    return biggan.generator(module, name="small biggan")


def asked(**changes):
    return Options(
        **({"layers": (LAYER,), "count": 1, "latents": 4, "net": "pixels", "size": 8, "ansatz": 2} | changes)
    )


def test_a_place_on_one_image_is_looked_at_there_alone(small):
    here = basis(small, asked(region=CORNER.on(3)), 1)
    assert here.answer.seeds == (3,)
    parts = [basis(small, asked(region=CORNER.on(seed)), 1).answer for seed in (0, 1)]
    vectors = torch.eye(2, here.space.dimension, dtype=torch.float64)
    both = basis(small, asked(region=CORNER, latents=2), 1).answer
    one, other = (each.products(here.space, vectors, each.seeds) for each in parts)
    assert torch.allclose(one + other, both.products(here.space, vectors, (0, 1)), rtol=1e-3, atol=1e-9)


def test_a_concept_painted_on_one_image_is_its_alone(small):
    whole = asked(region=CORNER.on(0), latents=9, more={"vectors": 6, "passes": 2})
    (painted,) = concept(small, whole)
    (first,) = concept(small, asked(region=CORNER, latents=1, more={"vectors": 6, "passes": 2}))
    assert painted.facts["inside"] == "box 0,0,0.5,0.5 of seed 0"
    assert painted.facts["share_inside"] == pytest.approx(first.facts["share_inside"], rel=1e-3)


def test_latent_directions_of_a_place_on_one_image(small):
    chosen = sites(small, layers=["2-3"])
    ours = energies(small, chosen, Options(region=CORNER.on(0)), syntheses=5, side=8)
    first = energies(small, chosen, Options(region=CORNER), syntheses=1, side=8)
    assert all(torch.equal(one, other) for one, other in zip(ours, first, strict=True))
    with pytest.raises(RewriteError, match="place on one"):
        interfacegan(small, Options(region=CORNER.on(2), segmenter=None, more={"samples": 40}))


@pytest.mark.parametrize("method", [lowrankgan, resefa, stylespace])
def test_a_place_that_is_nowhere_is_refused(small, method):
    nowhere = Where("nowhere", lambda images: torch.zeros_like(images[:, :1]))
    more = {"samples": 16} if method is stylespace else {"syntheses": 2, "side": 4}
    with pytest.raises(RewriteError, match="nowhere is in none of 2 images"):
        method(small, Options(region=nowhere, latents=2, more=more))


def test_a_place_that_is_everywhere_leaves_nothing_to_hold_still(small):
    with pytest.raises(RewriteError, match="leaves nothing outside"):
        resefa(small, Options(region=box([0, 0, 1, 1]), more={"syntheses": 2, "side": 4}))


def test_a_concept_is_a_place_too(small):
    class Halves:
        classes = ("left", "right")

        def __call__(self, images):
            scores = torch.zeros(len(images), 2, *images.shape[2:])
            half = images.shape[3] // 2
            scores[:, 0, :, :half] = scores[:, 1, :, half:] = 1
            return scores

    more = {"syntheses": 2, "side": 8}
    of_concept = resefa(small, Options(segmenter=Halves(), concept="left", count=1, more=more))
    of_box = resefa(small, Options(region=box([0, 0, 0.5, 1]), count=1, more=more))
    assert of_concept[0].facts == of_box[0].facts


def test_a_recipe_says_the_image_and_the_place(small):
    (one,) = navigate(
        small, method="resefa", net="pixels", seeds=(0, 1), count=1, region=CORNER.on(5),
        more={"side": 4}, layers=("2-3",),
    )  # fmt: skip
    assert one.edit.recipe["direction"]["region_seed"] == 5
    assert again(small, one.edit.recipe).content == one.edit.content


def test_a_move_to_a_place_goes_from_nothing_to_there(small):
    (walk,) = sefa(small, Options(count=1, more={"form": "projective"}))
    (one,) = found(small, [walk])
    edit, measured = calibrate(one.edit, bench(small, metric("pixels"), seeds=range(2)), ladder=(0.5, 1.0, 2.0))
    assert edit.content == one.edit.content
    assert measured.factor == 1
    assert [rung.strength for rung in measured.curve] == [0, 0.5, 1]
    assert [accepts(edit, strength) for strength in (-0.1, 0, 1, 1.1)] == [False, True, True, False]


@pytest.mark.parametrize("kind", ["sngan", "biggan"])
def test_a_conditional_model_is_held_at_a_class(kind):
    generator = conditional(kind)
    held, z = generator.of_class(2), generator.latents(range(3))
    wanted = generator.synthesize(z, label=[2, 2, 2])
    assert torch.equal(held.synthesize(z), wanted)
    assert not torch.equal(generator.of_class(1).synthesize(z), wanted)
    if kind == "biggan":
        assert torch.equal(held.styles(z, truncation=0.5), generator.styles(z, truncation=0.5, label=[2, 2, 2]))
    for wrong in (lambda: generator.of_class(4), lambda: held.of_class(0)):
        with pytest.raises(RewriteError, match="class"):
            wrong()


def test_directions_of_a_class_and_their_recipe():
    generator = conditional("sngan")
    layer = next(name for name, layer in generator.layers.items() if len(layer.shape) == 4)
    asked_for = {"method": "hessian", "layer": layer, "net": "pixels", "seeds": (0, 1), "count": 1, "latents": 2}
    (one,) = navigate(generator.of_class(3), ansatz=2, **asked_for)
    assert one.edit.recipe["direction"]["label"] == 3
    assert again(generator, one.edit.recipe).content == one.edit.content
    (other,) = navigate(generator.of_class(1), ansatz=2, **asked_for)
    assert other.edit.content != one.edit.content
    base = generator.synthesize(generator.latents([0]), label=[3])
    with edits.applied(generator.module, (one.edit, 1.0)):
        assert not torch.equal(generator.synthesize(generator.latents([0]), label=[3]), base)
