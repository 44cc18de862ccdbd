"""What scripts/compositions.py counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compositions import Wishes, in_images

import edits
from rewrite.models import stylegan2
from rewrite.rules import parse

SIDE = 16


class Brightness:
    """Three classes by brightness: exact, and blind to all else."""

    classes = ("dark", "middle", "bright")

    def __call__(self, images):
        grey = images.mean(1)
        return torch.stack([-grey - 0.2, 0 * grey, grey - 0.2], dim=1)


def test_boxes_beside_one_another_overlap_and_lie_on_the_image():
    wishes = Wishes(None, "", 1, 0, 0, np.random.RandomState(0))
    for _ in range(200):
        box = wishes.box()
        for one in (box, wishes.beside(box)):
            assert 0 <= one[0] < one[2] <= 1
            assert 0 <= one[1] < one[3] <= 1
        other = one
        shared = [min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1)]
        assert shared[0] * shared[1] >= 0.24 * (box[2] - box[0]) * (box[3] - box[1])


def test_what_is_kept_in_images_is_counted_inside_the_paste_regions():
    generator = stylegan2.generator(
        stylegan2.StyleGAN2.random(3, resolution=SIDE, channels=(8, 8, 8), z=8, w=8, depth=2)
    )
    name = f"synthesis.b{SIDE}.torgb.bias"
    box = {"box": [0.0, 0.0, 1.0, 0.5]}
    recipe = {"layer": "any", "copy": {"seed": 0, **box}, "paste": [{"seed": 1, **box}, {"seed": 2, **box}]}

    def lighter(by, recipe=None):
        """Adds `by` to the whole image, by the last layer's bias."""
        add = edits.Add((3,), edits.Dense(torch.full((3,), by)))
        return edits.Edit({name: (add,)}, edits.describe(generator.module, [name]), recipe=recipe)

    one, other, undone = lighter(0.4, parse(recipe).as_json()), lighter(0.1), lighter(-0.3)
    companies = [[(one, 1.0)], [(one, 1.0), (other, 1.0)], [(one, 1.0), (undone, 1.0)], []]
    kept = in_images(generator, one, companies, Brightness())
    # Some pixels are as light as can be already.
    assert kept[:4] == pytest.approx([1, 0.75, 0.25, 0], abs=0.01)
    with torch.no_grad():
        grey = generator.synthesize(generator.latents([1, 2]))[:, :, : SIDE // 2].mean(1)

    def level(values):
        return (values > 0.2).int() - (values < -0.2).int()

    turned = level(grey) != level(grey + 0.4)
    assert turned.any()
    assert kept[4] == 1
    expected = [(level(grey + by) == level(grey + 0.4))[turned].double().mean() for by in (0.5, 0.1)]
    assert kept[5:7] == pytest.approx([float(share) for share in expected], abs=0.02)
    assert kept[7] == 0
    assert in_images(generator, one, companies, None) == kept[:4]
    assert in_images(generator, lighter(1e-6, parse(recipe).as_json()), [[]], Brightness())[1] is None
