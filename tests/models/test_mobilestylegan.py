"""MobileStyleGAN against a plain second implementation, which folds nothing and saves nothing."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite import models
from rewrite.errors import RewriteError
from rewrite.generator import Noise
from rewrite.models import mobilestylegan
from rewrite.models.mobilestylegan import MobileStyleGAN


def wavelets(x: Tensor) -> Tensor:
    """Inverse Haar transform, cell by cell, as in section 3 of the paper."""
    count = x.shape[1] // 4
    low, (lh, hl, hh) = x[:, :count], (x[:, count + k :: 3] for k in range(3))
    out = x.new_empty(len(x), count, 2 * x.shape[2], 2 * x.shape[3])
    for row in (0, 1):
        for column in (0, 1):
            a, b = (-1) ** row, (-1) ** column
            out[:, :, row::2, column::2] = (low + a * lh + b * hl + a * b * hh) / 2
    return out


def mapped(module: MobileStyleGAN, z: Tensor) -> Tensor:
    """Styles (N, style) of latents, in float64."""
    state = {name: tensor.double() for name, tensor in module.state_dict().items()}
    w = z.double()
    w = w / (w.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for i in range(module.geometry["depth"]):
        w = F.leaky_relu(w @ state[f"mapping.{i}.weight"].T + state[f"mapping.{i}.bias"], 0.2) * math.sqrt(2)
    return w


def plain(module: MobileStyleGAN, w: Tensor, noise: Noise = "const") -> Tensor:
    """Images of styles (N, style), from the state dict alone, in the type of the styles."""
    state = {name: tensor.to(w.dtype) for name, tensor in module.state_dict().items()}

    def styled(x: Tensor, path: str, fan_in: int) -> Tensor:
        style = w @ state[f"{path}.modulation.weight"].T + state[f"{path}.modulation.bias"]
        return x * (style / math.sqrt(fan_in))[:, :, None, None]

    def finish(x: Tensor, path: str) -> Tensor:
        x = x + state[f"{path}.noise"] if noise == "const" else x
        return F.leaky_relu(x + state[f"{path}.bias"][:, None, None], 0.2)

    x = state["input"]
    x = finish(F.conv2d(styled(x, "conv1", 9 * x.shape[1]), state["conv1.conv.weight"], padding=1), "conv1")
    for i in range(len(module.layers)):
        x = wavelets(styled(x, f"layers.{i}.up", 1))
        for path in (f"layers.{i}.conv1", f"layers.{i}.conv2"):
            count = x.shape[1]
            x = F.conv2d(styled(x, path, 9 * count), state[f"{path}.depthwise"], padding=1, groups=count)
            x = finish(F.conv2d(x, state[f"{path}.pointwise.weight"]), path)
    path = f"layers.{len(module.layers) - 1}.to_img"
    x = F.conv2d(styled(x, path, x.shape[1]), state[f"{path}.conv.weight"], state[f"{path}.conv.bias"])
    return wavelets(x)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("noise", ["const", "none"])
def test_the_fast_form_is_the_plain_form(count: int, noise: Noise) -> None:
    module = MobileStyleGAN.random(0, noise=0.3, style=16, depth=4, channels=(32, 16, 24, 8))
    G = mobilestylegan.generator(module)
    z = G.latents(range(count))
    slow = plain(module, mapped(module, z), noise)
    assert torch.allclose(G.synthesize(z, noise=noise).double(), slow.clamp(-1, 1), atol=3e-5)
    if noise == "const":
        assert torch.allclose(module(z).double(), slow, atol=3e-5)


def test_the_layers_are_the_convolutions_that_take_a_rule() -> None:
    layers = mobilestylegan.generator(MobileStyleGAN(style=8, depth=2, channels=(8, 8, 8))).layers
    assert list(layers) == [
        "mapping.0",
        "mapping.1",
        "conv1",
        *(f"layers.{i}.conv{k}" for i in (0, 1) for k in (1, 2)),
        "layers.1.to_img",
    ]
    assert all(layer.gain is None for layer in layers.values())
    assert [name for name, layer in layers.items() if layer.refuses] == ["mapping.0", "mapping.1"]
    assert layers["layers.1.conv2"].in_resolution == (16, 16)


@pytest.mark.parametrize(
    "geometry",
    [
        {"channels": (6, 8, 8)},
        {"channels": (8,)},
        {"channels": (8, 8, 0)},
        {"style": -1},
        {"depth": 10**9},
        {"channels": (8, 8, 8.0)},
    ],
)
def test_impossible_geometries_are_errors(geometry: dict) -> None:
    with pytest.raises(RewriteError):
        MobileStyleGAN(**geometry)


@pytest.mark.real
def test_the_real_network_is_the_plain_form() -> None:
    try:
        G = models.load("ffhq")
    except RewriteError as error:
        pytest.skip(f"the model ffhq is not in the cache and cannot be pulled: {error}")
    assert (G.resolution, G.z_dim, len(G.layers)) == (1024, 512, 24)
    assert "non-commercial" in G.card["licence"]
    ws = G.styles(G.latents([7]), truncation=0.5)
    module = G.module
    assert isinstance(module, MobileStyleGAN)
    with torch.inference_mode():
        fast = G.synthesize(ws=ws)
        slow = plain(module, ws[:, 0])
    assert torch.allclose(fast, slow.clamp(-1, 1), atol=3e-5)
    assert 0.2 < float(fast.std()) < 0.9
