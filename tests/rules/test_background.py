"""Moments of the rest of the world: cached under all they hang on, resumed where they stopped, sealed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from rewrite.background import background, shipped
from rewrite.background.world import conditions
from rewrite.generator import Generator
from rewrite.home import home
from rewrite.latents import Row
from rewrite.memory import lag_reach, maps
from rewrite.stats import SecondMoments

SAMPLES = 20


def cached_files() -> list:
    return sorted(home("moments").glob("*.safetensors"))


def same(one, other) -> bool:
    style = one.style_square is None or torch.equal(one.style_square, other.style_square)
    return style and all(torch.equal(total, other.moments.sums[lag]) for lag, total in one.moments)


def test_moments_are_those_of_the_keys_of_stream_1(case):
    generator, name = case
    layer = generator.layer(name)
    state = generator.run_to(layer, generator.latents([Row(1, row) for row in range(SAMPLES)]))
    slow = SecondMoments.empty(layer.in_features, lag_reach(layer)).add(maps(state.key))
    world = background(generator, layer, samples=SAMPLES)
    for lag, _ in slow:
        torch.testing.assert_close(world.moments.at(lag), slow.at(lag), rtol=1e-4, atol=1e-5)
    if layer.gain:
        torch.testing.assert_close(world.style_square, (state.style.double() ** 2).mean(0), rtol=1e-4, atol=1e-5)


def test_an_interrupted_run_goes_on_to_the_same_bits(case):
    generator, name = case
    layer = generator.layer(name)
    whole = background(generator, layer, samples=SAMPLES, cache=False)

    def interrupt(_what, done, _total):
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        background(generator, layer, samples=SAMPLES, progress=interrupt)
    started = []
    again = background(generator, layer, samples=SAMPLES, progress=lambda _what, done, _total: started.append(done))
    assert started[0] == 8
    assert same(whole, again)


def test_a_second_run_reads_the_cache(case, monkeypatch):
    generator, name = case
    layer = generator.layer(name)
    first = background(generator, layer, samples=SAMPLES)
    monkeypatch.setattr("rewrite.background.count._add", None)
    assert same(first, background(generator, layer, samples=SAMPLES))


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "another layer"])
def test_a_damaged_cache_is_counted_anew(case, damage):
    generator, name = case
    layer = generator.layer(name)
    first = background(generator, layer, samples=SAMPLES)
    (path,) = cached_files()
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    elif damage == "flipped":
        content[-9] ^= 0xFF
    else:
        other = next(one for one in generator.layers.values() if one.name != name and not one.refuses)
        background(generator, other, samples=SAMPLES)
        content = next(p for p in cached_files() if p != path).read_bytes()
    path.write_bytes(bytes(content))
    assert same(first, background(generator, layer, samples=SAMPLES))


def test_every_condition_has_its_own_entry(case):
    generator, name = case
    layer = generator.layer(name)
    background(generator, layer, samples=8)
    background(generator, layer, samples=9)
    background(generator, layer, samples=8, noise="none")
    other = next(one for one in generator.layers.values() if one.name != name and not one.refuses)
    background(generator, other, samples=8)
    assert len(cached_files()) == 4
    if generator.module.mean_style is not None:
        background(generator, layer, samples=8, truncation=0.5)
        assert len(cached_files()) == 5


def test_a_change_upstream_is_another_world_and_one_downstream_is_not(case):
    generator, name = case
    layer = generator.layer(name)
    before = generator.fingerprint(layer)
    own = dict(generator.module.named_parameters())[layer.weight]
    with torch.no_grad():
        own.mul_(2)
    assert generator.fingerprint(layer) == before
    with torch.no_grad():
        generator.module.state_dict()[layer.upstream[0]].mul_(2)
    assert generator.fingerprint(layer) != before


def test_the_number_of_threads_is_part_of_the_entry(case):
    generator, name = case
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            background(generator, generator.layer(name), samples=8)
    finally:
        torch.set_num_threads(threads)
    assert len(cached_files()) == 2


def test_wrapped_networks_with_the_same_weights_do_not_share_statistics():
    def network(activation):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 12), activation, nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 3, 1))

    for activation in (nn.ReLU(), nn.Tanh()):
        generator = Generator.wrap(network(activation), latent=4)
        background(generator, generator.layer("3"), samples=8)
    assert len(cached_files()) == 2


def brought(generator, name, tmp_path):
    """The generator with its statistics beside it, and the file they lie in."""
    layer = generator.layer(name)
    world = background(generator, layer, samples=SAMPLES, cache=False)
    path = shipped.write(tmp_path, layer, conditions(generator, layer, SAMPLES, 1, 1.0, "const"), world)
    return replace(generator, statistics=tmp_path), world, path


def test_statistics_that_came_with_a_model_are_not_counted(case, tmp_path, monkeypatch):
    generator, world, _ = brought(*case, tmp_path)
    layer = generator.layer(case[1])
    monkeypatch.setattr("rewrite.background.count._add", None)
    found = background(generator, layer, samples=SAMPLES)
    for lag, _ in world.moments:
        torch.testing.assert_close(found.moments.at(lag), world.moments.at(lag), rtol=1e-6, atol=1e-7)
    assert torch.equal(found.moments.at((0, 0)), found.moments.at((0, 0)).T)
    assert (found.moments.images, found.moments.positions) == (world.moments.images, world.moments.positions)
    if layer.gain:
        torch.testing.assert_close(found.style_square, world.style_square, rtol=1e-6, atol=1e-7)
    assert cached_files() == []


@pytest.mark.parametrize("reason", ["other samples", "other weights", "damage", "another layer's file", "no file"])
def test_statistics_of_another_world_are_counted(case, tmp_path, reason):
    generator, _, path = brought(*case, tmp_path)
    layer, samples = generator.layer(case[1]), SAMPLES
    if reason == "other samples":
        samples -= 1
    elif reason == "other weights":
        with torch.no_grad():
            generator.module.state_dict()[layer.upstream[0]].mul_(2)
    elif reason == "damage":
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes(bytes(content))
    elif reason == "another layer's file":
        layer = next(one for one in generator.layers.values() if one.name != layer.name and not one.refuses)
        path.rename(tmp_path / f"{layer.name}.safetensors")
    else:
        path.unlink()
    found = background(generator, layer, samples=samples)
    assert same(found, background(generator, layer, samples=samples, cache=False))
    assert len(cached_files()) == 1
