"""StyleGAN2 against an obvious second implementation, its official names, and training."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.errors import RewriteError
from rewrite.generator import Noise
from rewrite.models import stylegan2
from rewrite.models.stylegan2 import StyleGAN2

SMALL: dict[str, Any] = {"resolution": 32, "channels": [16, 12, 8, 8], "z": 10, "w": 12, "depth": 3}


def low_passed(x: Tensor, *, gain: float) -> Tensor:
    """True convolution of padded features with [1, 3, 3, 1] in both directions, channel by channel."""
    taps = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype)
    kernel = torch.outer(taps, taps).div(64).mul(gain).flip(0, 1)[None, None]
    return torch.cat([F.conv2d(x[:, i : i + 1], kernel) for i in range(x.shape[1])], dim=1)


def obvious(module: StyleGAN2, z: Tensor, noise: Noise = "const", label: Tensor | None = None) -> Tensor:
    """The paper's form: every image has its own weights, modulated and demodulated; float64."""
    state = {name: tensor.double() for name, tensor in module.state_dict().items()}
    geometry = module.geometry

    def dense(x: Tensor, path: str, rate: float = 1.0) -> Tensor:
        weight = state[f"{path}.weight"]
        return x @ weight.T * (rate / math.sqrt(weight.shape[1])) + state[f"{path}.bias"] * rate

    def normed(x: Tensor) -> Tensor:
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()

    def clamped(x: Tensor) -> Tensor:
        return x if geometry["clamp"] is None else x.clamp(-geometry["clamp"], geometry["clamp"])

    x = normed(z.double())
    if label is not None:
        one_hot = torch.eye(geometry["classes"], dtype=torch.float64)[label]
        x = torch.cat([x, normed(dense(one_hot, "mapping.embed"))], dim=1)
    for i in range(geometry["depth"]):
        x = F.leaky_relu(dense(x, f"mapping.fc{i}", 0.01), 0.2) * math.sqrt(2)
    w = x

    def convolved(x: Tensor, path: str, *, up: bool = False, demodulate: bool = True) -> Tensor:
        weight, style = state[f"{path}.weight"], dense(w, f"{path}.affine")
        out = []
        for features, s in zip(x, style, strict=True):
            own = weight * s[None, :, None, None] * (1 if demodulate else 1 / math.sqrt(weight.shape[1]))
            if demodulate:
                own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            if up:
                features = F.conv_transpose2d(features[None], own.transpose(0, 1), stride=2)
                out.append(low_passed(F.pad(features, (1, 1, 1, 1)), gain=4))
            else:
                out.append(F.conv2d(features[None], own, padding=own.shape[-1] // 2))
        return torch.cat(out)

    def layer(x: Tensor, path: str, *, gain: float = 1.0, **how: bool) -> Tensor:
        x = convolved(x, path, **how)
        if noise == "const":
            x = x + state[f"{path}.noise_const"] * state[f"{path}.noise_strength"][:, None, None]
        return clamped(F.leaky_relu(x + state[f"{path}.bias"][:, None, None], 0.2) * math.sqrt(2)) * gain

    def doubled(x: Tensor) -> Tensor:
        spread = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
        spread[:, :, ::2, ::2] = x
        return low_passed(F.pad(spread, (2, 1, 2, 1)), gain=4)

    x, image = state["synthesis.b4.const"].expand(len(z), -1, -1, -1), None
    for i in range(len(geometry["channels"])):
        block, before = f"synthesis.b{4 << i}", x
        residual = f"{block}.skip.weight" in state
        x = layer(x, f"{block}.conv0", up=True) if i else x
        x = layer(x, f"{block}.conv1", gain=math.sqrt(0.5) if residual else 1.0)
        if residual:
            kernel = state[f"{block}.skip.weight"]
            x = x + doubled(F.conv2d(before, kernel / math.sqrt(kernel.shape[1]))) * math.sqrt(0.5)
        if f"{block}.torgb.weight" not in state:
            continue
        share = convolved(x, f"{block}.torgb", demodulate=False) + state[f"{block}.torgb.bias"][:, None, None]
        image = clamped(share) if image is None else doubled(image) + clamped(share)
    assert image is not None
    return image


@pytest.mark.parametrize("noise", ["const", "none"])
@pytest.mark.parametrize(
    ("clamp", "architecture"),
    [(None, "skip"), (0.7, "skip"), (None, "resnet"), (0.7, "resnet"), (None, "orig"), (0.7, "orig")],
)
def test_the_compact_form_is_the_obvious_form(noise: Noise, clamp: float | None, architecture: str) -> None:
    module = StyleGAN2.random(0, noise=0.3, clamp=clamp, architecture=architecture, **SMALL)
    z = torch.randn(3, 10, generator=torch.Generator().manual_seed(1))
    image = module(z, noise=noise)
    assert float(image.std()) > 0.05
    assert torch.allclose(image.double(), obvious(module, z, noise), atol=1e-4)


def test_labels_go_into_the_mapping() -> None:
    module = StyleGAN2.random(0, classes=5, **SMALL)
    G = stylegan2.generator(module)
    z, label = G.latents([1, 2]), torch.tensor([0, 4])
    images = G.synthesize(ws=G.styles(z, label=label))
    assert torch.allclose(images.double(), obvious(module, z, label=label).clamp(-1, 1), atol=1e-4)
    assert not torch.allclose(images, G.synthesize(ws=G.styles(z, label=torch.tensor([1, 3]))), atol=1e-3)
    for wrong in (torch.tensor([5, 0]), torch.tensor([-1, 0]), torch.tensor([0.5, 0.5])):
        with pytest.raises(RewriteError, match="from 0 to 4"):
            G.styles(z, label=wrong)
    with pytest.raises(RewriteError, match="needs a label"):
        G.styles(z)


def test_parameters_have_the_official_names_and_shapes() -> None:
    module = StyleGAN2.random(0, **SMALL)
    found = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {"mapping.w_avg": (12,), "synthesis.b4.const": (16, 4, 4)}
    for i in range(3):
        expected |= {f"mapping.fc{i}.weight": (12, 12 if i else 10), f"mapping.fc{i}.bias": (12,)}
    before = 16
    for r, width in ((4, 16), (8, 12), (16, 8), (32, 8)):
        for part, inputs in (("conv0", before), ("conv1", width)) if r > 4 else (("conv1", width),):
            path = f"synthesis.b{r}.{part}"
            expected |= {
                f"{path}.weight": (width, inputs, 3, 3),
                f"{path}.bias": (width,),
                f"{path}.affine.weight": (inputs, 12),
                f"{path}.affine.bias": (inputs,),
                f"{path}.noise_const": (r, r),
                f"{path}.noise_strength": (width,),
            }
        path, before = f"synthesis.b{r}.torgb", width
        expected |= {f"{path}.weight": (3, width, 1, 1), f"{path}.bias": (3,)}
        expected |= {f"{path}.affine.weight": (width, 12), f"{path}.affine.bias": (width,)}
    assert found == expected


@pytest.mark.parametrize("change", [{}, {"architecture": "resnet"}, {"architecture": "orig"}, {"joint": True}])
def test_a_geometry_names_what_is_unusual_alone(change: dict[str, Any]) -> None:
    geometry = StyleGAN2(**(SMALL | change)).geometry
    assert set(geometry) == set(SMALL) | {"classes", "clamp"} | set(change)
    assert StyleGAN2(**geometry).geometry == geometry


def test_residual_blocks_have_a_way_around() -> None:
    G = stylegan2.generator(StyleGAN2.random(0, architecture="resnet", **SMALL))
    assert [name.removeprefix("synthesis.") for name in G.layers if name.startswith("synthesis.b8.")] == [
        "b8.skip", "b8.conv0", "b8.conv1",
    ]  # fmt: skip
    assert len({G.layers[f"synthesis.b8.{part}"].stage for part in ("skip", "conv0", "conv1")}) == 1
    assert [name for name in G.layers if name.endswith("torgb")] == ["synthesis.b32.torgb"]


def test_widths_are_the_official_ones() -> None:
    assert stylegan2.widths(1024) == [512, 512, 512, 512, 512, 256, 128, 64, 32]
    assert stylegan2.widths(64, base=16384) == [512, 512, 512, 512, 256]


def test_a_seed_is_a_network() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (StyleGAN2.random(seed, **SMALL).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["synthesis.b4.const"], other["synthesis.b4.const"])


@pytest.mark.parametrize("half", [False, True])
def test_it_trains(half: bool) -> None:
    torch.manual_seed(0)
    module = StyleGAN2(clamp=256.0, **SMALL).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for block in module.blocks:
            for layer in block.convolutions:
                layer.noise_strength.fill_(0.1)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    target, z = torch.rand(4, 3, 32, 32) - 0.5, torch.randn(4, 10)
    losses = []
    for _ in range(12):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            image = module(z)
        loss = (image.float() - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        if not losses:
            assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_half_precision_stays_half_between_layers() -> None:
    module = StyleGAN2.random(0, noise=0.1, **SMALL)
    types = []
    for block in module.blocks:
        block.conv1.register_forward_hook(lambda _module, _inputs, output: types.append(output.dtype))
    z = torch.randn(2, 10)
    with torch.autocast("cpu", torch.bfloat16):
        half = module(z)
    assert set(types) == {torch.bfloat16}
    assert torch.allclose(half.float(), module(z), atol=0.1)


def test_memory_layout_changes_nothing() -> None:
    module = StyleGAN2.random(0, noise=0.1, **SMALL)
    z = torch.randn(2, 10)
    assert torch.allclose(module(z), module.to(memory_format=torch.channels_last)(z), atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 64},
        {"resolution": 31},
        {"channels": []},
        {"channels": [16, 12, 8, 0]},
        {"depth": 0},
        {"depth": 10**9},
        {"classes": -1},
        {"clamp": -1.0},
        {"architecture": "dense"},
        {"joint": 1},
        {"z": 2.5},
    ],
)
def test_impossible_geometries_are_errors(change: dict[str, Any]) -> None:
    with pytest.raises(RewriteError):
        StyleGAN2(**(SMALL | change))
