from __future__ import annotations

import pytest
import torch

import edits
from rewrite.errors import RewriteError
from rewrite.models import dcgan
from rewrite.report import compared, edit_facts, layer_facts, model_facts, render
from rewrite.report.describe import EditFacts, abridged
from rewrite.report.sheets import levels


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    module = dcgan.DCGAN(z=8, channels=[8, 8, 3]).eval().requires_grad_(False)
    return dcgan.generator(module, name="tiny", card={"licence": "none"})


@pytest.fixture(scope="module")
def edit(generator):
    name = "main.3.weight"
    weight = generator.module.state_dict()[name]
    return edits.Edit(
        {name: (edits.Add(tuple(weight.shape), edits.Dense(torch.ones_like(weight))),)},
        edits.describe(generator.module, [name]),
        recipe={"model": "tiny"},
        notes={"layer": "main.3", "rank": 2, "residual": 0.5},
    )


def test_an_image_depends_on_its_seed_alone(generator) -> None:
    together, alone = render(generator, [3, 1, 2], 16), render(generator, [1], 16)
    assert together.shape == (3, 3, 16, 16)
    assert torch.equal(together[1:2], alone)
    assert torch.equal(alone, levels(generator.synthesize(generator.latents([1]))))


def test_images_are_shrunk_as_they_are_made(generator) -> None:
    seen = []
    images = render(generator, [1, 2], 8, progress=lambda what, done, total: seen.append((what, done, total)))
    assert images.shape == (2, 3, 8, 8)
    assert seen == [("rendering", 0, 2), ("rendering", 1, 2), ("rendering", 2, 2)]


def test_an_image_that_is_no_numbers_is_an_error(generator) -> None:
    name = "main.3.weight"
    shape = tuple(generator.module.state_dict()[name].shape)
    added = edits.Add(shape, edits.Dense(torch.full(shape, 3e38)))
    wild = edits.Edit({name: (added,)}, edits.describe(generator.module, [name]))
    with pytest.raises(RewriteError, match=r"image of seed 5 holds NaN or infinity .* lower the strength"):
        compared(generator, {"wild": [(wild, 1.0)]}, [5], 16)


def test_too_large_a_picture_is_refused_before_it_is_rendered(generator) -> None:
    started = []
    with pytest.raises(RewriteError, match=r"400 megapixels; ask for 381 seeds at most, or for a size of 1000$"):
        render(generator, range(400), 1024, progress=lambda *_: started.append(1))
    with pytest.raises(RewriteError, match=r"ask for 190 seeds"):
        compared(generator, {"base": (), "again": ()}, range(300), 1024)
    assert started == []


def test_variants_are_rendered_under_their_edits_and_undone(generator, edit) -> None:
    before = generator.module.state_dict()["main.3.weight"].clone()
    rows = compared(generator, {"base": (), "edited": [(edit, 1.0)], "again": ()}, [5], 16)
    assert [label for label, _ in rows] == ["base", "edited", "again"]
    base, edited, again = (images for _, images in rows)
    assert torch.equal(base, again)
    assert not torch.equal(base, edited)
    assert torch.equal(generator.module.state_dict()["main.3.weight"], before)


def test_facts_of_a_model_are_those_of_its_layers(generator) -> None:
    facts = model_facts(generator)
    assert facts["resolution"] == 16
    assert facts["layers"] == [layer_facts(layer) for layer in generator.layers.values()]
    assert facts["layers"][0]["refuses"] is None


def test_facts_of_an_edit(edit) -> None:
    facts = edit_facts(edits.compose([(edit, 0.5)]))
    assert facts["members"][0]["content"] == edit.content
    assert facts["operations"][0]["coefficient"] == 0.5
    line = EditFacts.of("one", edit, 10)
    assert (line.model, line.layer, line.rank, line.residual, line.background_shift, line.bytes) == (
        "tiny", "main.3", 2, 0.5, None, 10,
    )  # fmt: skip


def test_a_recipe_for_people_leaves_masks_out() -> None:
    mask = "data:image/png;base64," + "A" * 400
    short = abridged({"paste": [{"mask": mask, "vector": [0.5] * 512}], "box": [0, 0, 1, 1]})
    assert short == {"paste": [{"mask": "image/png, 300 bytes", "vector": "512 numbers"}], "box": [0, 0, 1, 1]}
