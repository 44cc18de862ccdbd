"""Responses, patches and expectations of every kind of layer, against slow and obvious versions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rewrite.generator import Gain, Layer
from rewrite.memory import (
    Change,
    as_operation,
    canonical,
    change_energy,
    expected_energy,
    expected_patches,
    gain,
    lag_reach,
    maps,
    patches,
    respond,
)
from rewrite.stats import SecondMoments


def layer_of(kind, shape, out_axis, in_axis, kernel_axes, stride=1, padding=0, **more) -> Layer:
    return Layer(
        "layer",
        nn.Identity(),
        "weight",
        None,
        kind,
        shape,
        out_axis,
        in_axis,
        kernel_axes,
        (stride, stride),
        (padding, padding),
        **more,
    )


LAYERS = {
    "linear": layer_of("linear", (5, 4), 0, 1, ()),
    "pointwise": layer_of("conv", (5, 4, 1, 1), 0, 1, (2, 3)),
    "conv": layer_of("conv", (5, 4, 3, 3), 0, 1, (2, 3), 1, 1),
    "conv unpadded": layer_of("conv", (5, 4, 3, 3), 0, 1, (2, 3)),
    "conv stride 2": layer_of("conv", (5, 4, 3, 3), 0, 1, (2, 3), 2, 1),
    "conv oblong": layer_of("conv", (5, 4, 1, 3), 0, 1, (2, 3), 1, 0),
    "conv scaled": layer_of("conv", (5, 4, 3, 3), 0, 1, (2, 3), 1, 1, scale=0.25),
    "transposed 4x4": layer_of("transposed conv", (4, 5, 4, 4), 1, 0, (2, 3), 2, 1),
    "transposed 3x3": layer_of("transposed conv", (4, 5, 3, 3), 1, 0, (2, 3), 2, 0),
    "transposed first": layer_of("transposed conv", (4, 5, 4, 4), 1, 0, (2, 3), 1, 0),
    "transposed stored out first": layer_of("modulated transposed conv", (5, 4, 3, 3), 0, 1, (2, 3), 2, 0),
    "five axes": layer_of("modulated conv", (1, 5, 4, 3, 3), 1, 2, (3, 4), 1, 1),
}


@pytest.fixture(params=LAYERS, ids=str)
def layer(request) -> Layer:
    return LAYERS[request.param]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def key_for(layer: Layer, images: int = 1, side: int = 6) -> torch.Tensor:
    return drawn(images, 4) if layer.kind == "linear" else drawn(images, 4, side, side)


def change_for(layer: Layer, rank: int = 2) -> Change:
    return Change(drawn(5, rank, *layer.kernel, seed=1), drawn(rank, 4, seed=2))


def test_canonical_puts_out_and_in_first(layer):
    stored = drawn(*layer.shape, seed=3)
    weight = canonical(layer, stored)
    assert weight.shape == (5, 4, *layer.kernel)
    index = [0] * stored.ndim
    index[layer.out_axis], index[layer.in_axis] = 3, 2
    assert weight[3, 2, 0, 0] == stored[tuple(index)] * layer.scale


def test_an_operation_is_the_change_on_the_stored_tensor(layer):
    change = change_for(layer)
    add = as_operation(layer, change)
    left, right = add.form.left.double(), add.form.right.double()
    sizes = [layer.shape[axis] for axis in (*add.form.left_axes, *add.form.right_axes)]
    order = torch.tensor([*add.form.left_axes, *add.form.right_axes]).argsort().tolist()
    stored = (left @ right).reshape(sizes).permute(order)
    torch.testing.assert_close(canonical(layer, stored), change.dense(), rtol=1e-5, atol=1e-5)


def test_patches_times_weight_is_the_response(layer):
    key, weight = key_for(layer), canonical(layer, drawn(*layer.shape, seed=3))
    value = respond(layer, key, weight)
    ys, xs = (place.flatten() for place in torch.meshgrid(*map(torch.arange, value.shape[2:]), indexing="ij"))
    seen = torch.einsum("pti,oit->po", patches(layer, key, ys, xs), weight.flatten(2))
    torch.testing.assert_close(seen, value[0, :, ys, xs].T)


def test_the_response_is_linear_in_a_low_rank_change(layer):
    key, change = key_for(layer), change_for(layer)
    weight = canonical(layer, drawn(*layer.shape, seed=3))
    both = respond(layer, key, weight + change.dense())
    narrow = replace(layer, shape=tuple(2 if a == layer.in_axis else n for a, n in enumerate(layer.shape)))
    read = torch.einsum("ri,nihw->nrhw", change.context, maps(key))
    torch.testing.assert_close(both, respond(layer, key, weight) + respond(narrow, read, change.response))


def interior_patches(layer: Layer, key: torch.Tensor) -> torch.Tensor:
    """All patches of zero-padded maps wide enough that every pair of taps is seen at every place."""
    rows = []
    for image in key:
        padded = F.pad(maps(image[None]), (4, 4, 4, 4)) if layer.kind != "linear" else maps(image[None])
        value = respond(layer, padded, torch.zeros(5, 4, *layer.kernel, dtype=torch.float64))
        places = torch.meshgrid(*map(torch.arange, value.shape[2:]), indexing="ij")
        rows.append(patches(layer, padded, *(place.flatten() for place in places)))
    return torch.cat(rows)


@pytest.mark.parametrize("context", [None, drawn(2, 4, seed=5)], ids=["every direction", "context"])
def test_expected_patches_are_the_mean_outer_product(layer, context):
    if layer.stride == (2, 2) and not layer.transposed:
        pytest.skip("a strided convolution sees a sample of the places that its moments are over")
    key = key_for(layer, images=3)
    moments = SecondMoments.empty(4, lag_reach(layer)).add(maps(key))
    rows = interior_patches(layer, key)
    rows = rows if context is None else rows @ context.T
    flat = rows.flatten(1)
    places = moments.positions * (layer.stride[0] * layer.stride[1] if layer.transposed else 1)
    torch.testing.assert_close(expected_patches(layer, moments, context, 0.0), flat.T @ flat / places)


def test_the_ridge_is_on_the_moments_diagonal():
    layer = LAYERS["conv"]
    moments = SecondMoments.empty(4, lag_reach(layer)).add(key_for(layer))
    ridge = expected_patches(layer, moments, None, 0.1) - expected_patches(layer, moments, None, 0.0)
    expected = 0.1 * moments.at((0, 0)).diagonal().mean() * torch.eye(36, dtype=torch.float64)
    torch.testing.assert_close(ridge, expected)


def test_energies_are_mean_squares(layer):
    key = key_for(layer, images=3)
    moments = SecondMoments.empty(4, lag_reach(layer)).add(maps(key))
    gram = expected_patches(layer, moments, None, 0.0)
    weight, change = canonical(layer, drawn(*layer.shape, seed=3)), change_for(layer)
    for matrix, energy in [
        (weight, expected_energy(layer, moments, weight)),
        (change.dense(), change_energy(layer, moments, change)),
    ]:
        flat = matrix.permute(0, 2, 3, 1).flatten(1)
        assert energy == pytest.approx(float(((flat @ gram) * flat).sum()))


def test_the_gain_is_the_demodulation_of_each_image():
    layer = replace(LAYERS["five axes"], gain=Gain(nn.Identity(), eps=1e-8))
    weight, style = canonical(layer, drawn(*layer.shape, seed=3)), drawn(2, 4, seed=6)
    found = gain(layer, weight, style)
    for image in range(2):
        modulated = weight * style[image][None, :, None, None]
        torch.testing.assert_close(found[image], (modulated.square().sum((1, 2, 3)) + 1e-8).rsqrt())
    assert gain(LAYERS["conv"], weight, style) is None
