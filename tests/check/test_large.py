"""Large images are brought to a side at which they are looked at, before anything is done to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

import rewrite.check.look as looking
from rewrite.check import box, check
from rewrite.check.anchor import jpeg
from rewrite.check.look import look
from rewrite.generator import Generator
from rewrite.models import stylegan2
from rewrite.perception.images import bicubic

SIDE = 32


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    """64 px shall be large here."""
    monkeypatch.setattr(looking, "SIDE", SIDE)


@dataclass(frozen=True)
class Watched:
    """An eye that keeps what it is shown."""

    eye: object
    shown: list

    def __getattr__(self, name: str):
        return getattr(self.eye, name)

    def of(self, batches):
        batches = list(batches)
        self.shown.extend(batches)
        return self.eye.of(batches)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return stylegan2.generator(
        stylegan2.StyleGAN2.random(5, resolution=64, channels=(16, 16, 16, 8, 8), z=16, w=16, depth=2), name="toy"
    )


@pytest.fixture
def unsized(eyes):
    """What is looked with, its eye of no size that it says."""
    return replace(eyes, eye=replace(eyes.eye, identity=replace(eyes.eye.identity, resolution=None)))


def test_jpeg_is_made_of_what_is_seen(generator, unsized, noise):
    eye = Watched(unsized.eye, [])
    view = replace(unsized, eye=eye, place=box([0.2, 0.2, 0.7, 0.7]))
    seen = look(generator, [(noise(0.1), 1.0)], range(4), view)
    base = bicubic(generator.synthesize(generator.latents(range(4))), SIDE).detach()
    assert any(torch.equal(images, base) for images in eye.shown)
    assert any(torch.equal(images, jpeg(base)) for images in eye.shown)
    assert {images.shape[-1] for images in eye.shown} == {SIDE}
    assert seen.each["change outside"].min() > 0


def test_the_side_is_a_condition_of_a_verdict(generator, unsized, noise):
    found = check(generator, [(noise(0.1), 1.0)], unsized, samples=8, cap=8)
    assert found.conditions["side"] == SIDE
    nothing = check(generator, [(noise(0.1), 0.0)], unsized, samples=8, cap=8)
    assert (nothing.findings["harm"].value, nothing.findings["distance"].value) == (0, 0)


def test_an_eye_that_sees_more_is_shown_images_as_they_are(generator, eyes, noise):
    assert eyes.eye.identity.resolution > SIDE
    assert eyes.side(generator) == generator.resolution
    assert "side" not in check(generator, [(noise(0.1), 1.0)], eyes, samples=8, cap=8).conditions
