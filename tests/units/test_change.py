"""Unit edits beside the same units replaced as the network runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edits
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.models import stylegan2
from rewrite.units.change import ROUNDING, Fidelity, again, change, fidelity
from rewrite.units.features import World, hold, sites

UNITS = [0, 3, 5, 7]


def independent_difference(generator, name, edit, units, value, noise="const"):
    """The edited network beside a plain hook, on other latents than the edit was tried out on."""
    ws = World().styles(generator, 9, range(3))
    held = hold(generator, sites(generator)[name], ws, noise)
    features = held.features.clone()
    features[:, units] = features[:, units] * value[1] if isinstance(value, tuple) else torch.tensor(value)
    wanted = held.images(features)
    with edits.applied(generator.module, (edit, 1.0)):
        got = generator.synthesize(ws=ws, noise=noise)
    assert (wanted - held.images()).abs().max() > 100 * ROUNDING, "the units do something"
    return float((got - wanted).abs().max())


def test_ablation_is_exact_in_every_layer_of_every_family(family):
    for name in sites(family):
        edit = change(family, name, UNITS, "ablate")
        assert edit.notes["exact"] is True
        assert "why" not in edit.notes
        assert edit.notes["largest_difference"] <= ROUNDING
        assert independent_difference(family, name, edit, UNITS, 0.0) <= ROUNDING


def test_setting_is_exact_but_for_noise_that_units_share(family):
    values = [0.5, 0.0, 1.25, 0.1]
    for name in sites(family):
        edit = change(family, name, UNITS, "set", values)
        assert edit.notes["exact"] == (family.architecture != "mobilestylegan")
        column = torch.tensor(values)[:, None, None].tolist()
        difference = independent_difference(family, name, edit, UNITS, column)
        assert (difference <= ROUNDING) == edit.notes["exact"]
        if not edit.notes["exact"]:
            assert "noise" in edit.notes["why"]
            assert edit.notes["largest_difference"] > ROUNDING
            quiet = change(family, name, UNITS, "set", values, noise="none")
            assert quiet.notes["exact"], "without noise it is"


def test_negative_values_go_through_the_activation(family):
    name = list(sites(family))[1]
    if family.architecture == "dcgan":
        with pytest.raises(RewriteError, match="never below 0"):
            change(family, name, [1], "set", -0.5)
    else:
        assert change(family, name, [1], "set", -0.5, noise="none").notes["exact"]


def test_scaling_is_exact_but_for_demodulation(family):
    for name in sites(family):
        edit = change(family, name, UNITS, "scale", 0.5)
        difference = independent_difference(family, name, edit, UNITS, ("times", 0.5))
        assert (difference <= ROUNDING) == edit.notes["exact"]
        if family.architecture != "stylegan2":
            assert edit.notes["exact"]
        elif not edit.notes["exact"]:
            assert "demodulated" in edit.notes["why"]
            assert edit.notes["largest_difference"] < edit.notes["largest_effect"]
    if family.architecture == "stylegan2":
        assert edit.notes["exact"], "the image is not demodulated, and it alone reads the last layer"


def test_an_ablation_is_idempotent_and_leaves_no_trace(family):
    name = next(iter(sites(family)))
    edit, more = change(family, name, [2], "ablate"), change(family, name, [2, 4], "ablate")
    z = family.latents([5])
    base = family.synthesize(z)
    stack = edits.Stack(family.module)
    stack.push(edit, 1.0)
    once = family.synthesize(z)
    stack.push(more, 1.0)
    stack.remove(more)
    assert torch.equal(family.synthesize(z), once)
    stack.remove(edit)
    assert torch.equal(family.synthesize(z), base)


def test_a_unit_edit_saves_loads_and_is_made_again(family, tmp_path):
    name = list(sites(family))[1]
    for verb, value in (("ablate", None), ("scale", 0.25), ("set", [0.5, 0.0, 0.75, 0.3])):
        edit = change(family, name, UNITS, verb, value)
        edit.save(tmp_path / "edit.safetensors")
        loaded = edits.load(tmp_path / "edit.safetensors")
        assert loaded.content == edit.content
        assert loaded.notes == edit.notes
        assert again(family, loaded.recipe).content == edit.content
        assert (tmp_path / "edit.safetensors").stat().st_size < 200_000


def test_the_order_in_which_units_are_named_does_not_matter(family):
    name = next(iter(sites(family)))
    one = change(family, name, [3, 1], "set", [0.5, 0.25])
    assert one.content == change(family, name, [1, 3], "set", [0.25, 0.5]).content


def test_the_check_tells_a_wrong_edit(family):
    """The trial is no formality: an edit of other units, and of the filter alone, is told apart."""
    name = next(iter(sites(family)))
    site, layer = sites(family)[name], family.layers[name]
    other = change(family, name, [6], "ablate")
    assert not fidelity(family, site, {1: 0.0}, "ablate", other).exact
    shape, axis = layer.shape, layer.out_axis
    zeros = torch.zeros(*shape[:axis], 1, *shape[axis + 1 :])
    form = edits.Set(shape, edits.Slices(axis, torch.tensor([1]), zeros))
    filters = edits.Edit({layer.weight: (form,)}, edits.describe(family.module, [layer.weight]))
    assert not fidelity(family, site, {1: 0.0}, "ablate", filters).exact, "bias, norm and noise are left"


def test_wrapped_networks_edit_what_their_modules_return(toy):
    for verb, value in (("ablate", None), ("scale", 0.5), ("set", -0.75)):
        assert change(toy, "body", [2, 5], verb, value).notes["exact"]
    torch.manual_seed(0)
    grouped = nn.Sequential(
        nn.Linear(4, 32), nn.Unflatten(1, (8, 2, 2)), nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),
        nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    generator = Generator.wrap(grouped.requires_grad_(False), latent=4)
    assert change(generator, "2", [1, 6], "ablate").notes["exact"]
    with pytest.raises(RewriteError, match="no bias"):
        change(generator, "2", [1], "set", 0.5)


def test_a_weight_that_is_recomputed_is_not_edited():
    torch.manual_seed(0)
    conv = torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 8, 3, padding=1))
    net = nn.Sequential(
        nn.Linear(4, 32), nn.Unflatten(1, (8, 2, 2)), conv, nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh()
    )
    generator = Generator.wrap(net.requires_grad_(False), latent=4)
    assert "2" in sites(generator), "it can be observed"
    with pytest.raises(RewriteError, match="cannot be edited"):
        change(generator, "2", [1], "ablate")


def test_what_cannot_be_done_is_refused(family):
    name = next(iter(sites(family)))
    for units, verb, value, said in (
        ([], "ablate", None, "expected different"),
        ([1, 1], "ablate", None, "expected different"),
        ([999], "ablate", None, "from 0 to"),
        ([1], "ablate", 0.5, "ablate takes none"),
        ([1], "scale", None, "take a number"),
        ([1], "scale", -1.0, "none below 0"),
        ([1], "set", float("nan"), "finite"),
        ([1, 2], "set", [1.0, 2.0, 3.0], "one for each"),
        ([1], "paint", 1.0, "expected ablate, scale or set"),
    ):
        with pytest.raises(RewriteError, match=said):
            change(family, name, units, verb, value)
    with pytest.raises(RewriteError, match="the recipe of a unit edit: units is missing"):
        again(family, {"layer": name, "paste": []})


def test_clamped_units_are_not_set_beyond_their_bounds():
    module = stylegan2.StyleGAN2.random(0, resolution=8, channels=(8, 8), z=8, w=8, depth=1, clamp=2.0)
    generator = stylegan2.generator(module)
    assert change(generator, "synthesis.b8.conv0", [1], "set", 1.5).notes["exact"]
    with pytest.raises(RewriteError, match="within 2 of 0"):
        change(generator, "synthesis.b8.conv0", [1], "set", 2.5)


@pytest.mark.parametrize(
    ("difference", "effect", "exact"),
    [(1e-5, 0.5, True), (3e-5, 0.5, False), (7e-6, 1.8e-5, False), (1e-6, 1.8e-5, True)],
)
def test_a_difference_is_measured_by_what_the_units_do(difference: float, effect: float, exact: bool) -> None:
    assert Fidelity(difference, effect, images=16).exact is exact
