"""PGGAN against an obvious second implementation, from the tensors of GAN Dissection and of genforce."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Foreign, Network
from rewrite.errors import RewriteError
from rewrite.models.pggan import PGGAN, generator
from rewrite.models.registry import build

Z = 5


def parts(seed: int, widths: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each layer, two a resolution, then of the image's."""
    torch.manual_seed(seed)
    before, found = Z, []
    for i in range(2 * len(widths)):
        kernel = 3 if i else 4
        found.append((torch.randn(widths[i // 2], before, kernel, kernel), torch.randn(widths[i // 2]) * 0.3))
        before = widths[i // 2]
    return [*found, (torch.randn(3, before, 1, 1), torch.randn(3) * 0.3)]


def dissection(made: list[tuple[Tensor, Tensor]], *, first: bool = False, scale: bool = False) -> dict[str, Tensor]:
    """The names of GAN Dissection; those of its first version; with the factors that it once stored."""
    side = 4 << (len(made) - 1) // 2 - 1
    found = {}
    for i, (weight, bias) in enumerate(made):
        last = i == len(made) - 1
        path = (
            ("output" if first else f"output_{side}x{side}") if last else f"features.{i}" if first else f"layer{i + 1}"
        )
        found |= {f"{path}.conv.weight": weight, f"{path}.wscale.b": bias}
        if scale:
            found[f"{path}.wscale.scale"] = torch.tensor((1 if last else math.sqrt(2)) / math.sqrt(weight[0].numel()))
    return found


def genforce(made: list[tuple[Tensor, Tensor]], *, fused: bool = False) -> dict[str, Tensor]:
    """The names of genforce; upsampling layers (in, out, k, k), turned, where they are `fused`."""
    found = {"lod": torch.zeros(())}
    for i, (weight, bias) in enumerate(made):
        last = i == len(made) - 1
        turned = weight.transpose(0, 1).flip(2, 3) if fused and i and i % 2 == 0 and not last else weight
        path = f"output{i // 2 - 1}" if last else f"layer{i}"
        found |= {f"{path}.weight": turned.contiguous(), f"{path}.bias": bias}
    return found | {"output0.weight": torch.randn(3, len(made[1][0]), 1, 1), "output0.bias": torch.randn(3)}


def obvious(made: list[tuple[Tensor, Tensor]], z: Tensor) -> Tensor:
    """The paper's form, an image at a time, in float64."""
    images = []
    for one in z.double():
        x = one[:, None, None]
        for i, (weight, bias) in enumerate(made):
            last = i == len(made) - 1
            x = x / (x.square().mean(0) + 1e-8).sqrt()
            if i and i % 2 == 0 and not last:
                x = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
            scaled = weight.double() * ((1 if last else math.sqrt(2)) / math.sqrt(weight[0].numel()))
            x = (
                F.conv2d(x[None], scaled, padding={4: 3, 3: 1, 1: 0}[weight.shape[-1]])[0]
                + bias.double()[:, None, None]
            )
            x = x if last else torch.where(x > 0, x, 0.2 * x)
        images.append(x)
    return torch.stack(images)


def opened(tensors: Mapping[str, Tensor]) -> PGGAN:
    module, layout = build(Foreign("torch zip", {"": Network(tensors)}), "the file")
    assert isinstance(module, PGGAN)
    assert layout.unexplained(tensors) == []
    written = layout.theirs(module.state_dict())
    assert all(torch.equal(written[name], tensors[name]) for name in written)
    return module


def test_every_layout_gives_the_obvious_images() -> None:
    made, z = parts(0, [8, 6, 4]), torch.randn(2, Z)
    expected = obvious(made, z)
    assert float(expected.std()) > 0.3
    for tensors in (
        dissection(made),
        dissection(made, first=True),
        dissection(made, scale=True),
        genforce(made),
        genforce(made, fused=True),
    ):
        module = opened(tensors)
        assert torch.allclose(module(z).double(), expected, atol=1e-5)
        assert generator(module).resolution == 16


def test_units_are_what_their_form_says() -> None:
    module = PGGAN.random(0, z=Z, channels=[6, 5, 4])
    layer, z = generator(module).layers["layer3"], torch.randn(2, Z)
    assert layer.units is not None

    def unit() -> Tensor:
        kept: list[Tensor] = []
        with module.layer3.convolution.register_forward_hook(lambda *call: kept.append(call[2])):  # type: ignore
            module(z)
        return F.leaky_relu(kept[0] + module.layer3.bias[:, None, None], 0.2)[:, 2]  # type: ignore[index]

    stored, before = module.state_dict(), unit()
    for name, axis in layer.units.scaled:
        stored[name].select(axis, 2).mul_(3)
    assert torch.allclose(unit(), 3 * before, atol=1e-5)
    for name, axis in layer.units.constant:
        stored[name].select(axis, 2).zero_()
    assert layer.units.level == "layer3.bias"
    stored[layer.units.level][2] = 0.7
    assert torch.equal(unit(), torch.full_like(before, 0.7))


def test_files_that_cannot_be_are_refused() -> None:
    made = parts(0, [6, 4])
    dissected, trained = dissection(made), genforce(made)
    for tensors, reason in (
        (trained | {"lod": torch.tensor(2.0)}, "still growing"),
        ({name: t for name, t in trained.items() if name != "layer2.bias"}, "lacks layer2.bias"),
        (dissected | {"layer2.wscale.scale": torch.tensor(3.0)}, "scales its weights by 3"),
        (dissected | {"output_8x8.conv.weight": torch.ones(1, 4, 1, 1)}, "paints 1 channels"),
        (dissected | {"layer2.conv.weight": torch.ones(6, 7, 3, 3)}, "asks for"),
        ({name: t for name, t in dissected.items() if not name.startswith("output")}, "lacks output"),
    ):
        with pytest.raises(RewriteError, match=reason) as caught:
            build(Foreign("torch zip", {"": Network(tensors)}), "the file")
        assert "\n" not in str(caught.value)
