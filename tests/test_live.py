"""Live edits are the baked ones, image by image, and the weights never know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import edits
from edits import Add, Dense, EditError, EditWarning, Elements, LowRank, Scale, Set, Slices
from rewrite import live
from rewrite.errors import RewriteError
from rewrite.generator import Gain, Generator, Layer
from rewrite.memory import Change, as_operation
from rewrite.models import dcgan, mobilestylegan, stylegan2
from rewrite.wrap import wrap

STRENGTHS = [-0.5, 0.0, 0.3, 1.0, 2.0]


def small_dcgan() -> Generator:
    torch.manual_seed(0)
    return dcgan.generator(dcgan.DCGAN(z=16, channels=(24, 16, 8, 3)).eval().requires_grad_(False))


def small_mobile() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(1, noise=0.2, style=16, depth=2, channels=(32, 16, 24, 16))
    return mobilestylegan.generator(module)


def small_stylegan2() -> Generator:
    module = stylegan2.StyleGAN2.random(2, resolution=16, channels=(24, 20, 16), z=16, w=18, depth=2, noise=0.1)
    return stylegan2.generator(module)


def small_wrapped() -> Generator:
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Linear(8, 64), nn.Unflatten(1, (16, 2, 2)), nn.ConvTranspose2d(16, 12, 3, 2, 1, 1), nn.ReLU(True),
        nn.Conv2d(12, 3, 3, padding="same"), nn.Tanh(),
    )  # fmt: skip
    return wrap(network.requires_grad_(False), latent=8)


GENERATORS = {
    "dcgan": (small_dcgan, "main.3"),
    "dcgan first": (small_dcgan, "main.0"),
    "mobile": (small_mobile, "layers.1.conv1"),
    "mobile first": (small_mobile, "conv1"),
    "mobile image": (small_mobile, "layers.2.to_img"),
    "mobile mapping": (small_mobile, "mapping.1"),
    "demodulated": (small_stylegan2, "synthesis.b16.conv1"),
    "demodulated first": (small_stylegan2, "synthesis.b4.conv1"),
    "demodulated up": (small_stylegan2, "synthesis.b8.conv0"),
    "to rgb": (small_stylegan2, "synthesis.b16.torgb"),
    "stylegan2 mapping": (small_stylegan2, "mapping.fc0"),
    "wrapped linear": (small_wrapped, "0"),
    "wrapped transposed": (small_wrapped, "2"),
    "wrapped conv": (small_wrapped, "4"),
}


@pytest.fixture(params=GENERATORS)
def case(request: pytest.FixtureRequest) -> tuple[Generator, Layer]:
    make, name = GENERATORS[request.param]
    generator = make()
    return generator, generator.layers[name]


@pytest.fixture
def demodulated() -> tuple[Generator, Layer]:
    generator = small_stylegan2()
    return generator, generator.layers["synthesis.b8.conv0"]


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_rule(layer: Layer, size: float) -> Add:
    response = size * drawn(1, layer.out_features, 2, *layer.kernel).double()
    return as_operation(layer, Change(response, drawn(2, 2, layer.in_features).double()))


def a_lora(layer: Layer, size: float) -> Add:
    """The kernel on the input side."""
    right = tuple(axis for axis in range(len(layer.shape)) if axis != layer.out_axis)
    columns = layer.in_features * layer.kernel[0] * layer.kernel[1]
    left = size / layer.scale * drawn(3, layer.out_features, 1)
    return Add(layer.shape, LowRank(left, drawn(4, 1, columns), (layer.out_axis,), right))


def swapped(layer: Layer, size: float) -> Add:
    """A rule whose sides are exchanged."""
    form = a_rule(layer, size).form
    assert isinstance(form, LowRank)
    return Add(
        layer.shape, LowRank(form.right.T.contiguous(), form.left.T.contiguous(), form.right_axes, form.left_axes)
    )


def dense(layer: Layer, size: float) -> Add:
    return Add(layer.shape, Dense(size / layer.scale * drawn(5, *layer.shape)))


def rows(layer: Layer, size: float) -> Add:
    index = torch.tensor([0, 2])
    sizes = [2 if axis == layer.in_axis else n for axis, n in enumerate(layer.shape)]
    return Add(layer.shape, Slices(layer.in_axis, index, size / layer.scale * drawn(6, *sizes)))


FORMS: list[Callable[[Layer, float], Add]] = [a_rule, a_lora, swapped, dense, rows]


def edit_of(generator: Generator, layer: Layer, *operations: Add | Scale | Set, **facts) -> edits.Edit:
    base = edits.describe(generator.module, [layer.weight], layer.upstream)
    return edits.Edit({layer.weight: operations}, base, **facts)


def size_for(generator: Generator, layer: Layer) -> float:
    """A fraction of the weights'."""
    weight = generator.module.state_dict()[layer.weight]
    return 0.2 * float(weight.double().square().mean().sqrt()) * layer.scale


def baked(generator: Generator, z: Tensor, *per_image: list[tuple[edits.Edit, float]]) -> Tensor:
    """Each image under edited weights of its own."""
    images = []
    for i, pairs in enumerate(per_image):
        with edits.applied(generator.module, *pairs):
            images.append(generator.synthesize(z)[i])
    return torch.stack(images)


def stored(generator: Generator) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in generator.module.state_dict().items()}


def unhooked(generator: Generator) -> bool:
    return not any(part._forward_hooks or part._forward_pre_hooks for part in generator.module.modules())


@pytest.mark.parametrize("form", FORMS)
def test_every_image_is_the_baked_one_at_its_own_strength(case, form) -> None:
    generator, layer = case
    z, before = generator.latents(range(len(STRENGTHS))), stored(generator)
    edit = edit_of(generator, layer, form(layer, size_for(generator, layer)))
    expected = baked(generator, z, *([(edit, strength)] for strength in STRENGTHS))
    with live.applied(generator, (edit, STRENGTHS)):
        images = generator.synthesize(z)
    plain = generator.synthesize(z)
    torch.testing.assert_close(images, expected, rtol=0, atol=2e-5)
    assert not torch.allclose(images, plain, atol=1e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.module.state_dict().items())
    assert unhooked(generator)


def test_edits_of_one_layer_and_of_several_meet(demodulated) -> None:
    generator, layer = demodulated
    other = generator.layers["synthesis.b16.conv1"]
    one, two, three = (
        edit_of(generator, at, form(at, 0.2)) for at, form in ((layer, a_rule), (layer, a_lora), (other, dense))
    )
    both = edits.compose([(two, 0.5), (three, -1.0)])
    z = generator.latents([1, 2, 3])
    expected = baked(generator, z, *([(one, a), (both, b)] for a, b in ((0.3, 1.0), (-1.0, 0.0), (0.0, 2.0))))
    with live.applied(generator, (one, [0.3, -1.0, 0.0]), (both, torch.tensor([1.0, 0.0, 2.0]))):
        torch.testing.assert_close(generator.synthesize(z), expected, rtol=0, atol=2e-5)


def test_strength_0_is_the_base_to_the_bit(case) -> None:
    generator, layer = case
    z = generator.latents([1, 2])
    edit = edit_of(generator, layer, a_rule(layer, 0.2))
    with live.applied(generator, (edit, [0.0, 0.0])):
        assert torch.equal(generator.synthesize(z), generator.synthesize(z))
        images = generator.synthesize(z)
    assert torch.equal(images, generator.synthesize(z))


def test_strengths_are_dragged(demodulated) -> None:
    generator, layer = demodulated
    edit = edit_of(generator, layer, a_rule(layer, 0.2), strength=0.4)
    z = generator.latents([1, 2])
    dragged = {(0.4, 0.4): 0.4, (1.0, -1.0): [1.0, -1.0], (0.7, 0.7): torch.tensor(0.7)}
    wanted = [baked(generator, z, *([(edit, strength)] for strength in each)) for each in dragged]
    with live.applied(generator, (edit, None)) as running:
        assert running.contents[0][1].tolist() == [0.4]
        for strengths, expected in zip(dragged.values(), wanted, strict=True):
            running.set_strength(edit, strengths)
            torch.testing.assert_close(generator.synthesize(z), expected, rtol=0, atol=2e-5)
        with pytest.raises(RewriteError, match="is not live"):
            running.set_strength("0" * 64, 1.0)


def test_a_strip_is_one_latent_at_every_strength(case) -> None:
    generator, layer = case
    edit, z = edit_of(generator, layer, a_rule(layer, 0.2)), generator.latents([5])
    images = live.strip(generator, edit, STRENGTHS, z)
    for image, strength in zip(images, STRENGTHS, strict=True):
        with edits.applied(generator.module, (edit, strength)):
            torch.testing.assert_close(image, generator.synthesize(z)[0], rtol=0, atol=2e-5)
    with pytest.raises(RewriteError, match="one latent"):
        live.strip(generator, edit, STRENGTHS, generator.latents([1, 2]))


def test_a_live_generator_can_be_held_and_resumed(demodulated) -> None:
    generator, layer = demodulated
    edit, z = edit_of(generator, layer, a_rule(layer, 0.2)), generator.latents([1, 2])
    with live.applied(generator, (edit, [0.5, -0.5])):
        whole = generator.synthesize(z)
        for name in generator.layers:
            torch.testing.assert_close(generator.run_from(generator.run_to(name, z)), whole, rtol=0, atol=1e-5)


def test_live_edits_stand_on_the_weights_as_they_are(demodulated) -> None:
    generator, layer = demodulated
    z, other = generator.latents([1, 2]), generator.layers["synthesis.b16.conv0"]
    below = edit_of(
        generator, generator.layers["synthesis.b4.torgb"], dense(generator.layers["synthesis.b4.torgb"], 0.2)
    )
    edit = edit_of(generator, layer, a_rule(layer, 0.2))
    expected = baked(generator, z, *([(below, 1.0), (edit, a)] for a in (0.5, -0.5)))
    stack = edits.Stack(generator.module)
    with live.applied(generator, (edit, [0.5, -0.5])):
        stack.push(below)
        torch.testing.assert_close(generator.synthesize(z), expected, rtol=0, atol=2e-5)
    same = edit_of(generator, other, dense(other, 0.2))
    stack.push(same)
    with pytest.raises(EditError, match="are not the weights"), live.applied(generator, (same, 1.0)):
        pytest.fail("its base is under an edit")


def test_what_has_no_response_is_refused_with_a_reason(demodulated) -> None:
    generator, layer = demodulated
    index = torch.tensor([1])
    scale = edit_of(generator, layer, Scale(layer.shape, 0, index, torch.zeros(1)))
    ablation = edit_of(generator, layer, Set(layer.shape, Elements(index, torch.zeros(1))))
    name = str(layer.bias)
    base = edits.describe(generator.module, [name])
    shift = edits.Edit({name: (Add(base.touched[name].shape, Dense(torch.ones(base.touched[name].shape))),)}, base)
    rule = edit_of(generator, layer, a_rule(layer, 0.2))
    for edit, words in (
        (scale, "has a scale of synthesis.b8.conv0.weight: it acts on the weight that all adds together make"),
        (edits.compose([(rule, 1.0), (ablation, 1.0)]), "has a set of"),
        (shift, "is no layer's weight"),
    ):
        with pytest.raises(RewriteError, match=words), live.applied(generator, (edit, 1.0)):
            pytest.fail("it must be refused")
    assert unhooked(generator)


def test_layers_whose_weight_does_not_tell_what_they_do_are_refused() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(8, 64), nn.Unflatten(1, (16, 2, 2)), nn.Conv2d(16, 3, 3, padding=1, padding_mode="reflect")
    )
    generator = wrap(network.requires_grad_(False), latent=8)
    edit = edit_of(generator, generator.layers["2"], dense(generator.layers["2"], 0.1))
    with pytest.raises(RewriteError, match="pads with 'reflect'"), live.applied(generator, (edit, 1.0)):
        pytest.fail("it must be refused")


def test_strengths_that_do_not_fit_are_told(demodulated) -> None:
    generator, layer = demodulated
    edit = edit_of(generator, layer, a_rule(layer, 0.2))
    for strengths in (float("nan"), [], [1.0, float("inf")]):
        with pytest.raises(RewriteError, match="strengths"), live.applied(generator, (edit, strengths)):
            pytest.fail("they must be refused")
    with live.applied(generator, (edit, [1.0, 2.0])), pytest.raises(RewriteError, match=r"2 strengths .* 3 images"):
        generator.synthesize(generator.latents([1, 2, 3]))
    assert unhooked(generator)


def test_edits_are_judged_as_on_a_stack(demodulated) -> None:
    generator, layer = demodulated
    edit = edit_of(generator, layer, a_rule(layer, 0.2))
    with (
        pytest.raises(RewriteError, match="there twice"),
        live.applied(generator, (edit, 1.0), (edits.compose([(edit, 1.0)]), 1.0)),
    ):
        pytest.fail("it must be refused")
    with (
        live.applied(generator, (edit, 1.0)),
        pytest.raises(RewriteError, match="live edits already"),
        live.applied(generator, (edit, 1.0)),
    ):
        pytest.fail("two blocks would each correct the gain")
    stranger = small_stylegan2()
    with torch.no_grad():
        stranger.module.get_parameter(layer.weight).mul_(1.001)
    with pytest.raises(EditError, match="are not the weights"), live.applied(stranger, (edit, 1.0)):
        pytest.fail("it must be refused")
    with live.applied(stranger, (edit, 1.0), force=True):
        pass
    moved = small_stylegan2()
    with torch.no_grad():
        moved.module.mapping.w_avg.add_(1)
        moved.module.get_parameter("mapping.fc0.weight").add_(1)
    with pytest.warns(EditWarning, match="upstream"), live.applied(moved, (edit, 1.0)):
        pass
    one, two = (edit_of(generator, layer, replace(a_rule(layer, size), projective="right")) for size in (0.1, 0.2))
    with pytest.raises(EditError, match="both project"), live.applied(generator, (one, 1.0), (two, 1.0)):
        pytest.fail("they are not orthogonal")


def test_hooks_go_with_any_exception(demodulated) -> None:
    generator, layer = demodulated
    edit = edit_of(generator, layer, a_rule(layer, 0.2))
    with pytest.raises(KeyboardInterrupt), live.applied(generator, (edit, 1.0)):
        raise KeyboardInterrupt
    assert unhooked(generator)


@pytest.mark.parametrize("rank", [1, 3, live.CHUNK + 5])
def test_the_gain_quotient_is_that_of_the_weights(rank: int) -> None:
    layer = Layer(
        "l", nn.Identity(), "w", None, "modulated conv", (6, 30, 3, 3), 0, 1, (2, 3), gain=Gain(nn.Identity())
    )
    weight, style = drawn(1, 6, 30, 3, 3).double(), drawn(2, 4, 30).double()
    change, amounts = Change(drawn(3, 6, rank, 3, 3).double(), drawn(4, rank, 30).double()), drawn(5, 4, rank).double()
    found = live.gain_quotient(layer, weight, style, amounts, change)
    for image in range(4):
        edited = weight + Change(change.response * amounts[image][:, None, None], change.context).dense()
        norms = [((w * style[image][:, None, None]) ** 2).sum((1, 2, 3)) + 1e-8 for w in (weight, edited)]
        torch.testing.assert_close(found[image], (norms[0] / norms[1]).sqrt())
