"""Singular pairs of a kernel, and what demodulation hides."""

from __future__ import annotations

import pytest
import torch

import edits
from rewrite.errors import RewriteError
from rewrite.memory import canonical
from rewrite.navigation.methods import Options, method
from rewrite.navigation.spectrum import radial_free, spectrum


def test_pairs_are_those_of_the_kernel(case):
    generator, name = case
    layer = generator.layer(name)
    weight = canonical(layer, generator.module.state_dict()[layer.weight])
    found = method("spectrum")(generator, Options(layers=(name,), count=3, latents=4))
    u, s, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    assert [one.facts["singular_value"] for one in found] == pytest.approx((s[:3] / layer.scale).tolist(), rel=1e-4)
    before = generator.module.state_dict()[layer.weight].clone()
    for i, one in enumerate(found):
        with edits.applied(generator.module, (one.edit, 1.0)):
            change = canonical(layer, generator.module.state_dict()[layer.weight] - before).flatten(1)
        along = torch.zeros(len(u), dtype=torch.float64)
        for o, row in enumerate(change):
            # A row is some of v, and some of the filter where the layer is demodulated.
            span = torch.stack([v[i], *([] if layer.gain is None else [weight[o].flatten()])], 1)
            share = torch.linalg.lstsq(span, row[:, None], driver="gelsd").solution
            assert torch.allclose(span @ share, row[:, None], atol=1e-4 * float(change.norm()))
            along[o] = share[0, 0]
        assert abs(along @ u[:, i]) == pytest.approx(float(along.norm()), rel=1e-2)
    assert torch.equal(generator.module.state_dict()[layer.weight], before)


def test_what_is_removed_is_what_demodulation_hides(small):
    layer = small.layer("synthesis.b8.conv1")
    stored = small.module.state_dict()[layer.weight]
    images = small.synthesize(small.latents(range(4)))
    radial = edits.Edit(
        {layer.weight: (edits.Add(layer.shape, edits.Dense(stored * 0.5)),)},
        edits.describe(small.module, [layer.weight]),
    )
    with edits.applied(small.module, (radial, 1.0)):
        assert torch.allclose(small.synthesize(small.latents(range(4))), images, atol=1e-4)
    weight = canonical(layer, stored)
    change, energy = torch.randn_like(weight), torch.rand(layer.in_features, dtype=torch.float64)
    free = radial_free(change, weight, energy)
    norms = [(w.square() * energy[:, None, None]).sum((1, 2, 3)) for w in (weight, weight + 1e-4 * free)]
    assert torch.allclose(*norms, rtol=1e-6)
    assert torch.allclose(radial_free(weight * torch.rand(len(weight))[:, None, None, None], weight, energy),
                          torch.zeros_like(weight), atol=1e-12)  # fmt: skip


def test_no_more_pairs_than_there_are(small):
    with pytest.raises(RewriteError, match="singular pairs"):
        spectrum(small, Options(layers=("synthesis.b8.conv1",), count=500))
    with pytest.raises(RewriteError, match="nearest: spectrum"):
        method("spectrums")
