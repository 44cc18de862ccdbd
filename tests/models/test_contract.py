"""What every family owes: layers to stop at, resume from and replace, that say truly what they are."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewrite import hooks
from rewrite.errors import RewriteError
from rewrite.generator import MAPPING, Generator, Layer
from rewrite.models import biggan, dcgan, mobilestylegan, pggan, sngan, stylegan, stylegan2, stylegan3
from rewrite.wrap import wrap


def random_mobilestylegan() -> Generator:
    module = mobilestylegan.MobileStyleGAN.random(1, noise=0.2, style=12, depth=3, channels=(16, 8, 12, 4))
    return mobilestylegan.generator(module, name="small mobile")


def random_dcgan() -> Generator:
    torch.manual_seed(2)
    module = dcgan.DCGAN(z=10, channels=(12, 8, 6, 3)).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, dcgan.Norm):
            part.running_mean.normal_()
            part.running_var.uniform_(0.05, 0.1)
            part.weight.uniform_(1, 2)
            part.bias.normal_()
    return dcgan.generator(module, name="small dcgan")


def random_stylegan2(**changes: Any) -> Generator:
    geometry: dict[str, Any] = {"resolution": 16, "channels": [12, 8, 6], "z": 10, "w": 14, "depth": 3}
    module = stylegan2.StyleGAN2.random(3, noise=0.2, **(geometry | changes))
    for part in module.modules():
        if isinstance(part, stylegan2.Modulated | stylegan2.ToRGB | stylegan2.FullyConnected):
            part.bias.add_(torch.randn_like(part.bias) * 0.1)
    return stylegan2.generator(module, name="small stylegan2")


def random_stylegan3(**changes: Any) -> Generator:
    shape: dict[str, Any] = {
        "resolution": 16,
        "base": 64,
        "most": 8,
        "count": 3,
        "z": 6,
        "w": 8,
        "depth": 1,
        "margin": 3,
    }
    module = stylegan3.StyleGAN3.random(0, **(shape | changes))
    # Images of untrained weights are faint: the last layer paints at a quarter.
    list(module.parts.values())[-1].weight.mul_(2)
    return stylegan3.generator(module, name="small stylegan3")


def random_stylegan() -> Generator:
    module = stylegan.StyleGAN.random(1, noise=0.3, channels=[8, 6], z=7, w=9, depth=1)
    return stylegan.generator(module, name="small stylegan")


def random_pggan() -> Generator:
    return pggan.generator(pggan.PGGAN.random(1, z=8, channels=[10, 8]), name="small pggan")


def random_biggan() -> Generator:
    blocks = [[False, 64, 32], [True, 32, 16], [False, 16, 8], [True, 8, 4]]
    geometry: dict[str, Any] = {"z": 6, "classes": 3, "embedding": 4, "width": 4, "attention": 2}
    return biggan.generator(biggan.BigGAN.random(0, blocks=blocks, **geometry), name="small biggan")


def random_sngan() -> Generator:
    module = sngan.SNGAN.random(0, z=8, side=3, channels=[12, 8], classes=4)
    return sngan.generator(module, name="small sngan")


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(6, 8 * 4 * 4)
        self.constant = nn.Parameter(torch.randn(8, 1, 1))
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.middle = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, padding="same"))
        self.last = nn.Conv2d(6, 1, (3, 1), padding=(1, 0), bias=False)

    def forward(self, z: Tensor) -> Tensor:
        x = self.start(z).unflatten(1, (8, 4, 4)) + self.constant
        return torch.tanh(self.last(F.relu(self.middle(F.relu_(self.up(x))))))


def wrapped() -> Generator:
    torch.manual_seed(4)
    return wrap(Custom().requires_grad_(False), latent=6, name="custom")


FEWER: dict[str, Any] = {"resolution": 8, "channels": [8, 6], "depth": 1}
MADE: dict[str, Callable[[], Generator]] = {
    "mobilestylegan": cache(random_mobilestylegan),
    "dcgan": cache(random_dcgan),
    "stylegan2": cache(random_stylegan2),
    "stylegan2 resnet": cache(partial(random_stylegan2, architecture="resnet", **FEWER)),
    "stylegan2 orig": cache(partial(random_stylegan2, architecture="orig", **FEWER)),
    "stylegan3 t": cache(random_stylegan3),
    "stylegan3 r": cache(partial(random_stylegan3, kernel=1, radial=True)),
    "stylegan-xl": cache(partial(random_stylegan3, classes=3, embedding=5)),
    "stylegan": cache(random_stylegan),
    "pggan": cache(random_pggan),
    "biggan": cache(random_biggan),
    "sngan": cache(random_sngan),
    "wrap": cache(wrapped),
}
LAYERS = [(family, name) for family, make in MADE.items() for name in make().layers]
STYLED = [
    "mobilestylegan", "stylegan2", "stylegan2 resnet", "stylegan2 orig", "stylegan3 t", "stylegan3 r", "stylegan-xl",
    "stylegan",
]  # fmt: skip
every_family = pytest.mark.parametrize("family", MADE)
every_layer = pytest.mark.parametrize(("family", "name"), LAYERS)


def labels(G: Generator, z: Tensor) -> dict[str, Any]:
    """The label of each latent, for a conditional model; the same for all, so that it says nothing of the batch."""
    return {"label": [1] * len(z)} if G.classes else {}


def product(layer: Layer, key: Tensor, weight: Tensor) -> Tensor:
    """The value, from what the layer says of itself alone."""
    weight = weight * layer.scale
    if layer.kind == "linear":
        return F.linear(key, weight)
    if not layer.transposed:
        assert (layer.out_axis, layer.in_axis) == (0, 1)
        return F.conv2d(key, weight, stride=layer.stride, padding=layer.padding)
    weight = weight.movedim((layer.in_axis, layer.out_axis), (0, 1))
    return F.conv_transpose2d(
        key, weight, stride=layer.stride, padding=layer.padding, output_padding=layer.output_padding
    )


def observed(G: Generator, layer: Layer, z: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Key and output as they were when the module ran, and the output as it is after the pass."""
    seen: list[tuple[Tensor, Tensor]] = []
    handle = layer.module.register_forward_hook(
        lambda _module, inputs, output: seen.append((inputs[0].clone(), output.clone()))
    )
    with handle, hooks.observe({"it": layer.module}) as kept:
        kept.run(partial(G.synthesize, **labels(G, z)), z)
    return seen[0], kept.outputs["it"]


@every_layer
def test_stopping_and_resuming_is_synthesis(family: str, name: str) -> None:
    G = MADE[family]()
    z = G.latents([3, 4])
    whole = G.synthesize(z, **labels(G, z))
    state = G.run_to(name, z, **labels(G, z))
    assert torch.allclose(G.run_from(state), whole, atol=1e-6)
    assert torch.allclose(G.run_from(state), whole, atol=1e-6), "resuming must not wear the state out"
    assert torch.allclose(G.run_from(state, state.key.contiguous()), whole, atol=1e-5)
    assert not torch.allclose(G.run_from(state, state.key.flip(1)), whole, atol=1e-3)
    if G.layers[name].stage != MAPPING:
        assert torch.allclose(G.run_from(G.run_to(name, ws=G.styles(z, **labels(G, z)))), whole, atol=1e-6)
    without = G.run_to(name, z, noise="none", **labels(G, z))
    assert torch.allclose(G.run_from(without), G.synthesize(z, noise="none", **labels(G, z)), atol=1e-6)


@every_layer
def test_the_module_does_what_the_layer_says(family: str, name: str) -> None:
    G = MADE[family]()
    layer, stored = G.layers[name], G.module.state_dict()
    z = G.latents([5, 6, 7])
    (key, output), kept = observed(G, layer, z)
    if family != "wrap":
        assert torch.equal(kept, output), "what was observed must not change afterwards"
    assert torch.allclose(key, G.run_to(name, z, **labels(G, z)).key, atol=1e-6)
    value = product(layer, key, stored[layer.weight])
    if getattr(layer.module, "bias", None) is not None:
        assert layer.bias is not None
        value = value + stored[layer.bias].view(-1, *[1] * len(layer.kernel_axes))
    assert torch.allclose(output, value, atol=1e-5 * float(value.abs().max()))
    if layer.kind == "linear":
        assert layer.in_resolution == layer.out_resolution == (1, 1)
    else:
        assert layer.in_resolution == key.shape[2:]
        assert layer.out_resolution == output.shape[2:]
    assert (layer.in_features, layer.out_features) == (key.shape[1], output.shape[1])


@every_layer
def test_names_are_stored_names_and_shapes_agree(family: str, name: str) -> None:
    G = MADE[family]()
    layer, stored = G.layers[name], G.module.state_dict()
    assert layer.name == name
    assert tuple(stored[layer.weight].shape) == layer.shape
    assert layer.bias is None or stored[layer.bias].shape == (layer.out_features,)
    assert sorted({layer.out_axis, layer.in_axis, *layer.kernel_axes}) == list(range(len(layer.shape)))
    assert set(layer.upstream) <= set(stored)
    assert not {layer.weight, layer.bias} & set(layer.upstream)
    assert len(set(layer.upstream)) == len(layer.upstream)
    assert ("bias" in layer.follows) == (layer.bias is not None)
    assert len(G.fingerprint(layer)) == 64


@every_layer
def test_nothing_but_upstream_changes_the_key(family: str, name: str) -> None:
    G = MADE[family]()
    layer, z = G.layers[name], G.latents([8])
    before = G.run_to(name, z, **labels(G, z)).key
    others = {key: tensor for key, tensor in G.module.state_dict().items() if key not in layer.upstream}
    kept = {key: tensor.clone() for key, tensor in others.items()}
    try:
        for tensor in others.values():
            tensor.add_(1)
        assert torch.equal(G.run_to(name, z, **labels(G, z)).key, before)
    finally:
        for key, tensor in others.items():
            tensor.copy_(kept[key])


@every_layer
def test_the_gain_is_what_comes_next(family: str, name: str) -> None:
    G = MADE[family]()
    layer = G.layers[name]
    assert (layer.gain is not None) == ("gain" in layer.follows)
    if layer.gain is None:
        return
    z = G.latents([1, 2])
    state = G.run_to(name, z, **labels(G, z))
    assert state.style is not None
    assert state.style.shape == (2, layer.in_features)
    energy = G.module.state_dict()[layer.weight].square().sum(layer.kernel_axes)
    gain = (state.style.square() @ energy.t() + layer.gain.eps).rsqrt()
    assert torch.allclose(gain, stylegan2.demodulation(state.style, G.module.state_dict()[layer.weight]))


@every_family
def test_images_do_not_depend_on_their_batch(family: str) -> None:
    G = MADE[family]()
    z = G.latents(range(5))
    together = G.synthesize(z, **labels(G, z))
    assert together.shape == (5, 3, G.resolution, G.resolution)
    assert together.dtype == torch.float32
    assert together.abs().max() <= 1
    assert float(together.std()) > 0.03
    alone = torch.cat([G.synthesize(z[i : i + 1], **labels(G, z[:1])) for i in range(5)])
    assert torch.allclose(together, alone, atol=1e-5)


@every_family
def test_gradients_reach_the_latents(family: str) -> None:
    G = MADE[family]()
    for count in (1, 2):
        z = G.latents(range(count)).requires_grad_()
        G.synthesize(z, **labels(G, z)).square().mean().backward()
        assert z.grad is not None
        assert z.grad.abs().max() > 0


@pytest.mark.parametrize("family", ["mobilestylegan", "stylegan2", "stylegan2 resnet", "stylegan"])
def test_noise_is_stored_or_absent(family: str) -> None:
    G = MADE[family]()
    z = G.latents([1])
    assert torch.equal(G.synthesize(z, **labels(G, z)), G.synthesize(z, **labels(G, z)))
    assert not torch.allclose(G.synthesize(z, **labels(G, z)), G.synthesize(z, noise="none", **labels(G, z)), atol=1e-3)


@pytest.mark.parametrize("family", STYLED)
def test_styles_have_a_row_for_every_use(family: str) -> None:
    G = MADE[family]()
    z = G.latents([1])
    ws = G.styles(z, **labels(G, z))
    one = G.synthesize(ws=ws)
    assert torch.equal(G.synthesize(ws=ws[:, 0]), one), "equal rows are one style"
    # Of the blocks of a MobileStyleGAN only the last has an image, and so a use for its third row.
    idle = {3, 6} if family == "mobilestylegan" else set()
    for row in range(ws.shape[1]):
        other = ws.clone()
        other[:, row] = other[:, row].flip(-1)
        assert torch.allclose(G.synthesize(ws=other), one, atol=1e-4) == (row in idle), row
    for wrong in (ws[:, :-1], ws[..., :-1], ws[0, 0]):
        with pytest.raises(RewriteError, match="styles have shape"):
            G.synthesize(ws=wrong)


@pytest.mark.parametrize("family", STYLED)
def test_truncation_goes_to_the_mean_style(family: str) -> None:
    G = MADE[family]()
    z = G.latents([1, 2])
    at_mean = G.synthesize(ws=G.styles(z, truncation=0.0, **labels(G, z)))
    assert torch.allclose(at_mean[0], at_mean[1], atol=1e-6)
    assert torch.allclose(
        G.styles(z, truncation=0.5, **labels(G, z)),
        (G.styles(z, **labels(G, z)) + G.styles(z, truncation=0.0, **labels(G, z))) / 2,
        atol=1e-6,
    )


@pytest.mark.parametrize("family", ["dcgan", "wrap", "pggan", "sngan"])
def test_truncation_without_a_mean_style_is_an_error(family: str) -> None:
    G = MADE[family]()
    with pytest.raises(RewriteError, match="has none; use truncation 1"):
        G.styles(z := G.latents([1]), truncation=0.7, **labels(G, z))


@pytest.mark.parametrize("family", [family for family in MADE if family != "wrap"])
def test_latents_of_another_size_are_an_error(family: str) -> None:
    G = MADE[family]()
    with pytest.raises(RewriteError, match="latents have shape"):
        G.synthesize(z := torch.zeros(1, G.z_dim + 1), **labels(G, z))


def test_a_mapping_layer_needs_latents() -> None:
    G = MADE["stylegan2"]()
    with pytest.raises(RewriteError, match="give latents z"):
        G.run_to("mapping.fc0", ws=G.styles(G.latents([1])))
