"""StyleGAN of 2018 against an obvious second implementation, from genforce's tensors."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Foreign, Network
from rewrite.errors import RewriteError
from rewrite.models.registry import build
from rewrite.models.stylegan import StyleGAN, generator

Z, W, DEPTH = 5, 6, 3


def file(seed: int, widths: list[int]) -> dict[str, Tensor]:
    """Tensors as genforce names them, at 4, 8, ... px."""
    torch.manual_seed(seed)
    found = {"truncation.w_avg": torch.randn(W), "synthesis.lod": torch.zeros(())}
    for i in range(DEPTH):
        found |= {f"mapping.dense{i}.weight": 100 * torch.randn(W, W if i else Z)}
        found |= {f"mapping.dense{i}.bias": 30 * torch.randn(W)}
    blur = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])) / 16
    for i in range(2 * len(widths)):
        path, width, side = f"synthesis.layer{i}", widths[i // 2], 4 << i // 2
        if i == 0:
            found[f"{path}.const"] = torch.randn(1, width, 4, 4)
        else:
            found[f"{path}.weight"] = torch.randn(width, widths[(i - 1) // 2], 3, 3)
        found |= {f"{path}.bias": torch.randn(width), f"{path}.apply_noise.weight": torch.randn(width) * 0.3}
        found |= {f"{path}.apply_noise.noise": torch.randn(1, 1, side, side)}
        found |= {f"{path}.style.weight": torch.randn(2 * width, W), f"{path}.style.bias": torch.randn(2 * width)}
        if i and i % 2 == 0:
            found[f"{path}.blur.kernel"] = blur.expand(width, 1, 3, 3).clone()
        if i % 2:
            found |= {f"synthesis.output{i // 2}.weight": torch.randn(3, width, 1, 1) * 0.3}
            found |= {f"synthesis.output{i // 2}.bias": torch.randn(3) * 0.3}
    return found


def obvious(tensors: Mapping[str, Tensor], z: Tensor, *, noise: bool = True) -> Tensor:
    """The paper's form of such a file, an image at a time, in float64: fused upsampling from 128 px on."""
    state = {name: tensor.double() for name, tensor in tensors.items()}
    count = sum(name.endswith(".style.bias") for name in state)
    images = []
    for one in z.double():
        x = one / (one.square().mean() + 1e-8).sqrt()
        for i in range(DEPTH):
            weight = state[f"mapping.dense{i}.weight"]
            x = weight @ x * (math.sqrt(2) * 0.01 / math.sqrt(weight.shape[1])) + state[f"mapping.dense{i}.bias"] * 0.01
            x = torch.where(x > 0, x, 0.2 * x)
        w = x
        x = state["synthesis.layer0.const"][0]
        for i in range(count):
            path = f"synthesis.layer{i}"
            if i:
                weight = state[f"{path}.weight"]
                weight = weight * (math.sqrt(2) / math.sqrt(9 * weight.shape[1]))
                if i % 2 == 0 and 4 << i // 2 >= 128:
                    wide = F.pad(weight, (1, 1, 1, 1))
                    wide = wide[..., 1:, 1:] + wide[..., :-1, 1:] + wide[..., 1:, :-1] + wide[..., :-1, :-1]
                    x = F.conv_transpose2d(x[None], wide.transpose(0, 1), stride=2, padding=1)[0]
                else:
                    x = x.repeat_interleave(2, 1).repeat_interleave(2, 2) if i % 2 == 0 else x
                    x = F.conv2d(x[None], weight, padding=1)[0]
            if i and i % 2 == 0:
                kernel = state[f"{path}.blur.kernel"][0, 0]
                x = torch.stack([F.conv2d(plane[None, None], kernel[None, None], padding=1)[0, 0] for plane in x])
            if noise:
                x = x + state[f"{path}.apply_noise.noise"][0] * state[f"{path}.apply_noise.weight"][:, None, None]
            x = x + state[f"{path}.bias"][:, None, None]
            x = torch.where(x > 0, x, 0.2 * x)
            x = x - x.mean((1, 2), keepdim=True)
            x = x / (x.square().mean((1, 2), keepdim=True) + 1e-8).sqrt()
            style = state[f"{path}.style.weight"] @ w / math.sqrt(W) + state[f"{path}.style.bias"]
            scale, shift = style.chunk(2)
            x = x * (scale[:, None, None] + 1) + shift[:, None, None]
        last = f"synthesis.output{count // 2 - 1}"
        weight = state[f"{last}.weight"]
        x = F.conv2d(x[None], weight / math.sqrt(weight.shape[1]))[0] + state[f"{last}.bias"][:, None, None]
        images.append(x)
    return torch.stack(images)


@pytest.mark.parametrize("widths", [[6, 5, 4], [4, 4, 3, 3, 2, 2]], ids=["16px", "128px"])
def test_a_file_gives_the_obvious_images(widths: list[int]) -> None:
    tensors = file(0, widths)
    module, layout = build(Foreign("torch zip", {"": Network(tensors)}), "the file")
    assert isinstance(module, StyleGAN)
    assert layout.unexplained(tensors) == []
    z = torch.randn(2, Z)
    for noise in (True, False):
        expected = obvious(tensors, z, noise=noise)
        images = module(z, noise="const" if noise else "none").double()
        assert float(expected.std()) > 0.1
        assert torch.allclose(images, expected, atol=1e-5 * float(expected.abs().max()))
    assert torch.equal(module.mean_style, tensors["truncation.w_avg"])


def test_tensors_go_back_as_they_came() -> None:
    tensors = file(0, [4, 4, 3, 3, 2, 2])
    module, layout = build(Foreign("torch zip", {"": Network(tensors)}), "the file")
    written = layout.theirs(module.state_dict())
    assert all(written[name].shape == tensors[name].shape for name in written)
    assert all(torch.allclose(written[name], tensors[name], atol=1e-6) for name in written)
    unused = {name for name in tensors if ".output" in name and ".output5" not in name}
    assert set(tensors) - set(written) == unused | {n for n in tensors if "blur" in n or n.endswith(".lod")}


def test_a_unit_without_a_style_is_zero() -> None:
    module = StyleGAN.random(0, channels=[6, 5], z=Z, w=W, depth=2)
    layer = generator(module).layers["synthesis.layer2"]
    assert layer.units is not None
    stored = module.state_dict()
    for name, axis in layer.units.constant:
        stored[name].select(axis, 3).zero_()
    kept: list[Tensor] = []
    module.parts[2].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    module(torch.randn(2, Z))
    assert kept[0][:, 3].abs().max() == 0
    assert kept[0][:, 2].abs().max() > 0


def test_files_that_cannot_be_are_refused() -> None:
    tensors = file(0, [4, 3])
    for changed, reason in (
        (tensors | {"synthesis.lod": torch.tensor(1.5)}, "still growing"),
        (tensors | {"mapping.label_weight": torch.ones(3, Z)}, "takes labels"),
        (tensors | {"synthesis.output1.weight": torch.ones(1, 3, 1, 1)}, "paints 1 channels"),
        (tensors | {"truncation.w_avg": torch.zeros(4 * W)}, "has shape|style for each layer"),
        (tensors | {"synthesis.layer2.blur.kernel": torch.ones(3, 1, 3, 3)}, "another filter"),
        ({name: t for name, t in tensors.items() if name != "synthesis.layer3.bias"}, "lacks synthesis.layer3.bias"),
        (tensors | {"synthesis.layer3.bias": torch.zeros(7)}, "has shape"),
        (tensors | {"synthesis.layer3.bias": torch.full((3,), math.nan)}, "NaN"),
    ):
        with pytest.raises(RewriteError, match=reason) as caught:
            build(Foreign("torch zip", {"": Network(changed)}), "the file")
        assert "\n" not in str(caught.value)
