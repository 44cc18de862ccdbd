"""A latent and its scene: one decides the other, and the latents are standard normal."""

from dataclasses import fields

import numpy as np
import torch
from scenes import render
from scenes.description import describe
from scenes.draws import Draws
from scenes.lesson import FIRST
from scenes.likeness import unlikeness
from scenes.pairs import TRAINED, _rotation, latents
from scenes.scene import NUMBERS, Scene, draw

Z = 128


def test_a_scene_takes_as_many_numbers_as_it_says(monkeypatch) -> None:
    taken: list[Draws] = []
    real = Draws.__init__
    monkeypatch.setattr(Draws, "__init__", lambda self, seeds: (real(self, seeds), taken.append(self))[0])
    draw(np.arange(3))
    assert taken[0].used == NUMBERS <= Z


def test_the_latents_are_standard_normal() -> None:
    z = latents(range(20_000), Z).double()
    assert z.shape == (20_000, Z)
    assert z.mean(0).abs().max() < 0.04
    assert (z.T @ z / len(z) - torch.eye(Z)).abs().max() < 0.06
    # Their fourth moment is that of a normal variable, too: they are no other law of the same variance.
    assert abs(float(z.pow(4).mean()) - 3) < 0.03


def test_turned_back_they_are_the_numbers_of_the_scene() -> None:
    seeds = np.array([0, 5, 2**32 - 1])
    back = torch.special.ndtr(latents(seeds, Z).double() @ _rotation(Z).T)
    draws = Draws(seeds)
    for i in range(NUMBERS):
        torch.testing.assert_close(back[:, i], torch.from_numpy(draws.unit()).double(), atol=1e-5, rtol=0)


def test_a_latent_depends_on_its_seed_alone() -> None:
    torch.testing.assert_close(latents([9, 4], Z)[1:], latents([4], Z))
    assert not torch.allclose(latents([4], Z), latents([5], Z))


def test_every_field_of_a_scene_is_described() -> None:
    """A scene that differs in one field alone is described otherwise."""
    scene = draw(np.arange(64))
    plain = describe(scene)
    assert plain.isfinite().all()
    for field in fields(Scene):
        values = getattr(scene, field.name)
        other = Scene(**{f.name: getattr(scene, f.name) for f in fields(Scene)} | {field.name: np.roll(values, 1, 0)})
        assert not torch.equal(describe(other), plain), field.name


def test_training_sees_no_scene_that_is_held_out() -> None:
    held_out = range(1_000_000, 3_000_000)
    assert held_out.stop <= TRAINED
    assert FIRST > TRAINED + 10**9


def test_likeness_is_zero_on_the_scene_and_weighs_what_is_rare() -> None:
    images, maps = render(range(8))
    scenes, labels = torch.from_numpy(images).float() / 127.5 - 1, torch.from_numpy(maps).long()
    assert unlikeness(scenes, scenes, labels) == 0
    # The same error on as many pixels of the sky and of the doors.
    door, sky = (labels == 11)[:, None], (labels == 0)[:, None]
    few = sky & (sky.flatten().cumsum(0).view(sky.shape) <= door.sum())
    assert few.sum() == door.sum() > 0
    assert unlikeness(scenes + door, scenes, labels) > 2 * unlikeness(scenes + few, scenes, labels)
