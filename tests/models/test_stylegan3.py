"""StyleGAN3 and StyleGAN-XL against an obvious second implementation, their filters and their names."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Foreign, Network
from rewrite.errors import RewriteError
from rewrite.models import recognise
from rewrite.models.registry import build
from rewrite.models.stylegan3 import StyleGAN3, design, generator
from rewrite.models.stylegan3.filters import low_pass

T: dict[str, Any] = {"resolution": 16, "base": 64, "most": 6, "count": 5, "z": 5, "w": 7}
R: dict[str, Any] = T | {"kernel": 1, "radial": True}
XL: dict[str, Any] = T | {"classes": 3, "embedding": 4}


def stirred(seed: int, **shape: Any) -> StyleGAN3:
    """Filters of every norm, and an input that is moved: what a trained network has and a new one has not."""
    module = StyleGAN3.random(seed, **shape)
    draws = torch.Generator().manual_seed(seed)
    for part in module.parts.values():
        part.weight.mul_(0.1 + 3 * torch.rand(len(part.weight), 1, 1, 1, generator=draws))
    module.start.transform.copy_(torch.tensor([[0.9, -0.3, 0.1], [0.3, 0.9, -0.2], [0.0, 0.0, 1.0]]))
    return module


def resampled(x: Tensor, taps: Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """One image's features (C, H, W): zeros between, padding or cropping, true convolution, every `down`-th cell."""
    kernel = (torch.outer(taps, taps) if taps.ndim == 1 else taps).flip(0, 1)
    out = []
    for plane in x:
        spread = plane.new_zeros(plane.shape[0] * up, plane.shape[1] * up)
        spread[::up, ::up] = plane
        spread = F.pad(spread[None], (*pad, *pad))[0]
        out.append(F.conv2d(spread[None, None], kernel[None, None])[0, 0, ::down, ::down])
    return torch.stack(out)


def obvious(state: Mapping[str, Tensor], geometry: Mapping[str, Any], z: Tensor, label: list[int] | None) -> Tensor:
    """The paper's form, an image at a time, in float64: weights and styles normalised, modulated, demodulated."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def dense(x: Tensor, path: str, rate: float = 1.0) -> Tensor:
        weight = state[f"{path}.weight"]
        return weight @ x * (rate / math.sqrt(weight.shape[1])) + state[f"{path}.bias"] * rate

    def normed(x: Tensor) -> Tensor:
        return x / (x.square().mean() + 1e-8).sqrt()

    def activated(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)

    images = []
    for i, one in enumerate(z.double()):
        x = normed(one)
        if label is not None and geometry["embedding"]:
            row = state["mapping.embed.weight"][label[i]]
            x = torch.cat([x, normed(activated(dense(row, "mapping.embed_proj")))])
        elif label is not None:
            row = torch.eye(geometry["classes"], dtype=torch.float64)[label[i]]
            x = torch.cat([x, normed(dense(row, "mapping.embed"))])
        for j in range(geometry["depth"]):
            x = activated(dense(x, f"mapping.fc{j}", 0.01))
        w = x

        start = geometry["input"]
        r_c, r_s, t_x, t_y = dense(w, "synthesis.input.affine") / dense(w, "synthesis.input.affine")[:2].norm()
        turn = torch.tensor([[r_c, -r_s, 0], [r_s, r_c, 0], [0, 0, 1]], dtype=torch.float64)
        shift = torch.tensor([[1, 0, -t_x], [0, 1, -t_y], [0, 0, 1]], dtype=torch.float64)
        motion = turn @ shift @ state["synthesis.input.transform"]
        waves = torch.zeros(start["channels"], start["size"], start["size"], dtype=torch.float64)
        for c in range(start["channels"]):
            frequency = state["synthesis.input.freqs"][c]
            phase = state["synthesis.input.phases"][c] + frequency @ motion[:2, 2]
            frequency = frequency @ motion[:2, :2]
            height = 1 - (frequency.norm() - start["bandwidth"]) / (start["rate"] / 2 - start["bandwidth"])
            for y in range(start["size"]):
                for x_ in range(start["size"]):
                    place = torch.tensor([x_, y], dtype=torch.float64).add(0.5).sub(start["size"] / 2) / start["rate"]
                    waves[c, y, x_] = torch.sin(2 * math.pi * (frequency @ place + phase)) * height.clamp(0, 1)
        weight = state["synthesis.input.weight"] / math.sqrt(start["channels"])
        x, size = torch.einsum("oi,ihw->ohw", weight, waves), start["size"]

        for spec in geometry["layers"]:
            path = f"synthesis.{spec['name']}"
            weight, style = state[f"{path}.weight"], dense(w, f"{path}.affine")
            image = spec is geometry["layers"][-1]
            if image:
                own = weight * style[:, None, None] / math.sqrt(weight.shape[1])
            else:
                own = weight / weight.square().mean((1, 2, 3), keepdim=True).sqrt()
                own = own * (style / style.square().mean().sqrt())[:, None, None]
                own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            own = own / state[f"{path}.magnitude_ema"].sqrt()
            x = F.conv2d(x[None], own, padding=spec["kernel"] - 1)[0] + state[f"{path}.bias"][:, None, None]
            if image:
                x = x.clamp(-256, 256)
                continue
            up, down = state[f"{path}.up_filter"], state[f"{path}.down_filter"]
            total = (spec["size"] - 1) * spec["down"] + 1 - (size + spec["kernel"] - 1) * spec["up"]
            total += len(up) + len(down) - 2
            low = (total + spec["up"]) // 2
            x = resampled(x, up * spec["up"], up=spec["up"], pad=(low, total - low))
            x = resampled(activated(x).clamp(-256, 256), down, down=spec["down"])
            size = spec["size"]
        images.append(x * 0.25)
    return torch.stack(images)


@pytest.mark.parametrize("shape", [T, R, XL, T | {"classes": 3}], ids=["t", "r", "xl", "conditional"])
def test_the_compact_form_is_the_obvious_form(shape: dict[str, Any]) -> None:
    module = stirred(0, **shape)
    z = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    label = [2, 0] if module.geometry["classes"] else None
    image = module(z, None if label is None else torch.tensor(label))
    expected = obvious(module.state_dict(), module.geometry, z, label)
    assert float(image.std()) > 0.02
    assert torch.allclose(image.double(), expected, atol=2e-6 * float(image.abs().max()) + 1e-5)


def test_filters_are_the_standard_ones() -> None:
    signal = pytest.importorskip("scipy.signal", reason="scipy designs the reference filters")
    for taps, cutoff, width, rate in ((12, 2.0, 8.57, 64), (24, 5.4, 7.3, 128), (12, 8, 8, 32), (12, 1.0, 30.0, 32)):
        expected = torch.from_numpy(signal.firwin(numtaps=taps, cutoff=cutoff, width=width, fs=rate)).float()
        assert torch.allclose(low_pass(taps, cutoff, width, rate), expected, atol=1e-7)
    round_one = low_pass(12, 2.0, 8.57, 64, radial=True)
    assert float(round_one.sum()) == pytest.approx(1)
    assert torch.allclose(round_one, round_one.T)
    assert torch.allclose(round_one, round_one.rot90())


def test_the_published_networks_have_these_layers() -> None:
    names = [layer["name"] for layer in design(1024).layers]
    assert names == [
        "L0_36_512", "L1_36_512", "L2_52_512", "L3_52_512", "L4_84_512", "L5_148_512", "L6_148_512", "L7_276_323",
        "L8_276_203", "L9_532_128", "L10_1044_81", "L11_1044_51", "L12_1044_32", "L13_1024_32", "L14_1024_3",
    ]  # fmt: skip
    wide = design(256, base=65536, most=1024, kernel=1, radial=True)
    assert wide.layers[0]["name"] == "L0_36_1024"
    assert [layer["radial"] for layer in wide.layers] == [True] * 12 + [False] * 3
    assert {layer["kernel"] for layer in wide.layers} == {1}


def file(module: StyleGAN3, **attributes: Mapping[str, Any]) -> Foreign:
    """A file with those tensors; `attributes` of modules, by path."""
    facts = {"modules": {path: {"attributes": dict(values)} for path, values in attributes.items()}}
    return Foreign("pickle", {"G_ema": Network(module.state_dict(), facts)}, "G_ema")


@pytest.mark.parametrize("shape", [T, R, XL, T | {"classes": 3}], ids=["t", "r", "xl", "conditional"])
def test_a_file_is_recognised_and_rebuilt(shape: dict[str, Any]) -> None:
    module = stirred(1, **shape)
    foreign = file(module)
    found, layout = build(foreign, "the file")
    assert found.geometry == module.geometry
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in found.state_dict().items())
    assert layout.unexplained(foreign.network.shapes) == []
    assert ("XL" in layout.why) == ("embedding" in shape)


def test_super_resolution_follows_the_layers_not_a_formula() -> None:
    """A head on a stem: numbers skip one, sizes repeat, the stem's input stays; attributes say what names cannot."""
    stem, head = StyleGAN3.random(2, **XL), StyleGAN3.random(3, **(XL | {"resolution": 32}))
    layers = [dict(layer) for layer in stem.geometry["layers"][:-3]]
    number, before = len(layers) + 1, layers[-1]
    for layer in head.geometry["layers"][-4:]:
        layers.append(layer | {"name": f"L{number}_{layer['size']}_{layer['channels']}"})
        number += 1
    layers[-4] |= {"up": 4, "down": 2, "up_taps": 24, "down_taps": 12} if before["size"] == 36 else {}
    geometry = stem.geometry | {"resolution": 32, "layers": layers}
    module = StyleGAN3(**geometry).eval().requires_grad_(False)
    names = [layer["name"] for layer in layers]
    order = {"synthesis": {"layer_names": names}}
    for foreign in (file(module), file(module, **order)):
        found, _ = build(foreign, "the file")
        assert [layer["name"] for layer in found.geometry["layers"]] == names
        assert found.geometry == geometry
    assert "L2_36_6" in names
    assert module(torch.randn(1, 5), torch.tensor([1])).shape == (1, 3, 32, 32)


def test_what_a_pickle_says_counts_more_than_the_usual() -> None:
    module = StyleGAN3.random(0, **(T | {"margin": 4}))
    said = {
        "synthesis.input": {"sampling_rate": 16.0, "bandwidth": 1.5, "size": [24, 24]},
        f"synthesis.{module.geometry['layers'][0]['name']}": {"conv_clamp": None, "up_factor": 2},
    }
    geometry = build(file(module, **said), "the file")[0].geometry
    assert geometry["input"] == module.geometry["input"] | {"bandwidth": 1.5}
    assert geometry["clamp"] is None


def test_an_unconditional_stylegan_xl_keeps_a_table_that_says_nothing() -> None:
    module = StyleGAN3.random(0, **T)
    tensors = module.state_dict() | {"mapping.embed.weight": torch.randn(3, 4)}
    _, layout = build(Foreign("pickle", {"": Network(tensors)}), "the file")
    assert layout.geometry["classes"] == 0
    assert layout.unexplained(tensors) == []


def test_truncation_of_classes_is_a_class_s_own() -> None:
    module = StyleGAN3.random(0, **XL)
    G = generator(module)
    z = G.latents([1, 2])
    at_mean = G.styles(z, truncation=0.0, label=[2, 1])
    assert torch.allclose(at_mean[:, 0], module.mean_style[[2, 1]])
    half = G.styles(z, truncation=0.5, label=[2, 1])
    assert torch.allclose(half, (G.styles(z, label=[2, 1]) + at_mean) / 2, atol=1e-6)


def test_the_norm_of_a_filter_says_nothing() -> None:
    module = StyleGAN3.random(0, **T)
    z = torch.randn(2, 5)
    before = module(z)
    module.parts["L1_36_6"].weight.mul_(torch.rand(6, 1, 1, 1) + 0.5)
    assert torch.allclose(module(z), before, atol=1e-6)


def test_a_filter_of_zeros_is_kept_here_and_refused_there() -> None:
    module = StyleGAN3.random(0, **T)
    layout = recognise(file(module))
    assert layout is not None
    name = "synthesis.L1_36_6.weight"
    weight = module.state_dict()[name].clone()
    assert torch.equal(layout.theirs({name: weight})[name], weight)
    weight[2] = 0
    module.parts["L1_36_6"].weight.copy_(weight)
    assert module(torch.randn(1, 5)).isfinite().all()
    with pytest.raises(RewriteError, match="filter of zeros"):
        layout.theirs({name: weight})


def test_margins_lie_beyond_the_image() -> None:
    G = generator(StyleGAN3.random(0, **T))
    layers = [layer for layer in G.layers.values() if layer.kernel_axes]
    for layer in layers:
        inside = layer.in_resolution[0] - 2 * layer.in_margin
        assert inside == layer.out_resolution[0] - 2 * layer.out_margin
        assert inside & (inside - 1) == 0
    assert (layers[0].in_margin, layers[0].out_margin, layers[0].unit_margin) == (10, 11, 10)
    assert (layers[-1].in_margin, layers[-1].out_margin) == (0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 15},
        {"classes": -1},
        {"embedding": 3},
        {"clamp": -1.0},
        {"z": 0},
        {"depth": 65},
        {"layers": []},
        {"input": {"channels": 6, "size": 0, "rate": 16, "bandwidth": 2.0}},
    ],
)
def test_impossible_geometries_are_errors(change: dict[str, Any]) -> None:
    geometry = StyleGAN3.random(0, **T).geometry
    with pytest.raises(RewriteError):
        StyleGAN3(**(geometry | change))
