"""A direction, a rule and a unit edit on one model: the order never matters, and all come off again."""

from __future__ import annotations

from itertools import permutations

import torch

import edits
import rewrite
from rewrite.navigation import Options, bench, calibrate
from rewrite.navigation.metric import metric
from rewrite.navigation.spectrum import spectrum
from rewrite.units import change


def test_order_never_matters(small):
    layer = "synthesis.b16.conv1"
    box = [0.2, 0.2, 0.7, 0.6]
    rule = rewrite.rule(small, {
        "layer": layer, "copy": {"seed": 1, "box": box}, "paste": [{"seed": 2, "box": box}], "rank": 2, "mu": 0.1,
        "nu": 0.1, "samples": 8,
    })  # fmt: skip
    unit = change(small, layer, [1], "ablate")
    (found,) = spectrum(small, Options(layers=(layer,), count=1, latents=4))
    direction, _ = calibrate(found.edit, bench(small, metric("pixels"), seeds=range(2)), ladder=(1.0,))
    before = {name: tensor.clone() for name, tensor in small.module.state_dict().items()}
    parts = [(direction, 0.7), (rule, 0.5), (unit, 1.0)]
    images = []
    for order in permutations(parts):
        with edits.applied(small.module, *order):
            images.append(small.synthesize(small.latents([3])))
    with edits.applied(small.module, (edits.compose(parts), 1.0)):
        images.append(small.synthesize(small.latents([3])))
    assert all(torch.equal(one, images[0]) for one in images)
    assert not torch.equal(images[0], small.synthesize(small.latents([3])))
    assert all(torch.equal(before[name], tensor) for name, tensor in small.module.state_dict().items())
