"""StyleGAN2 in the files of others: read as their code means it, and given back as it came."""

import math
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Foreign, Network
from rewrite.errors import RewriteError
from rewrite.models import load, recognise
from rewrite.models.layout import Layout
from rewrite.models.registry import build
from rewrite.models.stylegan2 import StyleGAN2

sys.path.insert(0, str(Path(__file__).parents[1] / "checkpoints"))
from layouts import nvidia as pickles

WIDTHS, W, DEPTH = [6, 5, 4], 7, 2
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])
LOW_PASS = TAPS.outer(TAPS) / 64
State = dict[str, Tensor]


def rosinality(seed: int) -> State:
    """Tensors as rosinality's code names them, at 4, 8 and 16 px."""
    torch.manual_seed(seed)
    found: State = {"input.input": torch.randn(1, WIDTHS[0], 4, 4)}
    for i in range(1, DEPTH + 1):
        found |= {f"style.{i}.weight": 100 * torch.randn(W, W), f"style.{i}.bias": 30 * torch.randn(W)}

    def modulated(path: str, out: int, into: int, kernel: int) -> None:
        found[f"{path}.conv.weight"] = torch.randn(1, out, into, kernel, kernel)
        found[f"{path}.conv.modulation.weight"] = torch.randn(into, W)
        found[f"{path}.conv.modulation.bias"] = 1 + 0.3 * torch.randn(into)

    def styled(path: str, out: int, into: int, *, up: bool = False) -> None:
        modulated(path, out, into, 3)
        found[f"{path}.noise.weight"] = torch.randn(1)
        found[f"{path}.activate.bias"] = torch.randn(out) * 0.3
        found.update({f"{path}.conv.blur.kernel": LOW_PASS * 4} if up else {})

    def painted(path: str, into: int, *, up: bool = True) -> None:
        modulated(path, 3, into, 1)
        found[f"{path}.bias"] = torch.randn(1, 3, 1, 1)
        found.update({f"{path}.upsample.kernel": LOW_PASS * 4} if up else {})

    styled("conv1", WIDTHS[0], WIDTHS[0])
    painted("to_rgb1", WIDTHS[0], up=False)
    for k, (before, after) in enumerate(pairwise(WIDTHS)):
        styled(f"convs.{2 * k}", after, before, up=True)
        styled(f"convs.{2 * k + 1}", after, after)
        painted(f"to_rgbs.{k}", after)
    for j in range(2 * len(WIDTHS) - 1):
        found[f"noises.noise_{j}"] = torch.randn(1, 1, *[4 << (j + 1) // 2] * 2)
    return found


def in_a_chain(tensors: Mapping[str, Tensor], *, split: bool) -> State:
    """The same, as the rewriting project's code names them; `split` where it edits the convolution alone."""
    renamed = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[0] in ("conv1", "convs"):
            path = "layer2.conv" if parts[0] == "conv1" else f"layer{int(parts[1]) + 3}.sconv"
            inside = ".".join(parts[1 if parts[0] == "conv1" else 2 :])
            if inside.startswith("conv."):
                inside = "mconv." + inside.removeprefix("conv.")
            inside = inside.replace("mconv.weight", "mconv.dconv.weight") if split else inside
            name = f"{path}.{inside}"
        elif name.startswith("to_rgbs.") and name.endswith("upsample.kernel"):
            name = f"up_rgb{int(parts[1]) + 1}.kernel"
        elif parts[0] in ("to_rgb1", "to_rgbs"):
            number = 1 if parts[0] == "to_rgb1" else int(parts[1]) + 2
            name = f"to_rgb{number}.rgb." + ".".join(parts[1 if parts[0] == "to_rgb1" else 2 :])
        renamed[name] = tensor
    return renamed


def genforce(seed: int, *, architecture: str = "skip", classes: int = 0, joint: bool = False) -> State:
    """Tensors as genforce's code names them, at 4, 8 and 16 px."""
    torch.manual_seed(seed)
    found: State = {"truncation.w_avg": torch.randn(W), "synthesis.early_layer.const": torch.randn(1, WIDTHS[0], 4, 4)}
    for i in range(DEPTH):
        into = W if i or not classes else 2 * W
        found |= {f"mapping.dense{i}.weight": 100 * torch.randn(W, into)}
        found |= {f"mapping.dense{i}.bias": 30 * torch.randn(W)}
    if classes:
        dense = {"mapping.LabelEmbed.weight": torch.randn(W, classes), "mapping.LabelEmbed.bias": torch.randn(W)}
        found |= {"mapping.label_weight": torch.randn(classes, W)} if joint else dense

    def modulated(path: str, out: int, into: int, kernel: int) -> None:
        found[f"{path}.weight"], found[f"{path}.bias"] = torch.randn(out, into, kernel, kernel), torch.randn(out) * 0.3
        found[f"{path}.style.weight"], found[f"{path}.style.bias"] = torch.randn(into, W), torch.randn(into) * 0.3

    for i in range(2 * len(WIDTHS) - 1):
        side, path = 4 << (i + 1) // 2, f"synthesis.layer{i}"
        modulated(path, WIDTHS[(i + 1) // 2], WIDTHS[i // 2], 3)
        found[f"{path}.noise"], found[f"{path}.noise_strength"] = torch.randn(1, 1, side, side), torch.randn(())
        found.update({f"{path}.filter.kernel": LOW_PASS[None, None] * 4} if i % 2 else {})
    for i, width in enumerate(WIDTHS):
        if architecture == "skip" or i == len(WIDTHS) - 1:
            modulated(f"synthesis.output{i}", 3, width, 1)
    return found | ({"synthesis.upsample.kernel": LOW_PASS[None, None] * 4} if architecture == "skip" else {})


def convolved(x: Tensor, weight: Tensor, style: Tensor, *, up: bool, demodulate: bool, turned: bool = False) -> Tensor:
    """One image's features (C, H, W): the weight scaled, modulated, demodulated; upsampling, then the low-pass."""
    weight = weight / math.sqrt(weight[0].numel()) * style[:, None, None]
    if demodulate:
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    if not up:
        return F.conv2d(x[None], weight, padding=weight.shape[-1] // 2)[0]
    weight = weight.flip(2, 3) if turned else weight
    spread = F.conv_transpose2d(x[None], weight.transpose(0, 1), stride=2)[0]
    return filtered(F.pad(spread, (1, 1, 1, 1)))


def filtered(x: Tensor) -> Tensor:
    return torch.stack([F.conv2d(plane[None, None], LOW_PASS.double()[None, None] * 4)[0, 0] for plane in x])


def doubled(image: Tensor) -> Tensor:
    spread = image.new_zeros(len(image), 2 * image.shape[1], 2 * image.shape[2])
    spread[:, ::2, ::2] = image
    return filtered(F.pad(spread, (2, 1, 2, 1)))


def activated(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)


def dense(x: Tensor, weight: Tensor, bias: Tensor, rate: float = 1.0) -> Tensor:
    return weight @ x * (rate / math.sqrt(weight.shape[1])) + bias * rate


def normed(x: Tensor) -> Tensor:
    return x / (x.square().mean() + 1e-8).sqrt()


def as_rosinality_means_it(tensors: Mapping[str, Tensor], z: Tensor, _label: Any = None) -> Tensor:
    """Images of such a file with its stored noise, one at a time, in float64."""
    state = {name: tensor.double() for name, tensor in tensors.items()}
    images = []
    for one in z.double():
        w = normed(one)
        for i in range(1, DEPTH + 1):
            w = activated(dense(w, state[f"style.{i}.weight"], state[f"style.{i}.bias"], 0.01))

        def layer(x: Tensor, path: str, noise: int, *, up: bool = False, w: Tensor = w) -> Tensor:
            style = dense(w, state[f"{path}.conv.modulation.weight"], state[f"{path}.conv.modulation.bias"])
            x = convolved(x, state[f"{path}.conv.weight"][0], style, up=up, demodulate=True)
            x = x + state[f"{path}.noise.weight"] * state[f"noises.noise_{noise}"][0]
            return activated(x + state[f"{path}.activate.bias"][:, None, None])

        def paint(x: Tensor, path: str, w: Tensor = w) -> Tensor:
            style = dense(w, state[f"{path}.conv.modulation.weight"], state[f"{path}.conv.modulation.bias"])
            return (
                convolved(x, state[f"{path}.conv.weight"][0], style, up=False, demodulate=False)
                + state[f"{path}.bias"][0]
            )

        x = layer(state["input.input"][0], "conv1", 0)
        image = paint(x, "to_rgb1")
        for k in range(len(WIDTHS) - 1):
            x = layer(x, f"convs.{2 * k}", 2 * k + 1, up=True)
            x = layer(x, f"convs.{2 * k + 1}", 2 * k + 2)
            image = doubled(image) + paint(x, f"to_rgbs.{k}")
        images.append(image)
    return torch.stack(images)


def as_genforce_means_it(tensors: Mapping[str, Tensor], z: Tensor, label: list[int] | None) -> Tensor:
    """Images of such a file with its stored noise, one at a time, in float64."""
    state = {name: tensor.double() for name, tensor in tensors.items()}
    images = []
    for i, one in enumerate(z.double()):
        if label is None:
            w = normed(one)
        elif "mapping.label_weight" in state:
            w = normed(torch.cat([one, state["mapping.label_weight"][label[i]]]))
        else:
            table = state["mapping.LabelEmbed.weight"]
            row = torch.eye(table.shape[1], dtype=torch.float64)[label[i]]
            w = torch.cat([normed(one), normed(dense(row, table, state["mapping.LabelEmbed.bias"]))])
        for j in range(DEPTH):
            w = activated(dense(w, state[f"mapping.dense{j}.weight"], state[f"mapping.dense{j}.bias"], 0.01))

        def style(path: str, w: Tensor = w) -> Tensor:
            return dense(w, state[f"{path}.style.weight"], state[f"{path}.style.bias"]) + 1

        x, image = state["synthesis.early_layer.const"][0], None
        for number in range(2 * len(WIDTHS) - 1):
            path = f"synthesis.layer{number}"
            up = bool(number % 2)
            x = convolved(x, state[f"{path}.weight"], style(path), up=up, demodulate=True, turned=True)
            x = x + state[f"{path}.noise"][0] * state[f"{path}.noise_strength"]
            x = activated(x + state[f"{path}.bias"][:, None, None])
            last = f"synthesis.output{number // 2}"
            if up or f"{last}.weight" not in state:
                continue
            share = convolved(x, state[f"{last}.weight"], style(last), up=False, demodulate=False)
            share = share + state[f"{last}.bias"][:, None, None]
            image = share if image is None else doubled(image) + share
        assert image is not None
        images.append(image)
    return torch.stack(images)


def opened(tensors: Mapping[str, Tensor], **beside: Any) -> tuple[StyleGAN2, Layout]:
    module, layout = build(Foreign("torch zip", {"g_ema": Network(tensors)}, "g_ema", beside), "the file")
    assert isinstance(module, StyleGAN2)
    assert layout.unexplained(tensors) == []
    assert layout.unexplained([*tensors, "surplus.weight"]) == ["surplus.weight"]
    return module, layout


Case = tuple[Callable[[], State], Callable[..., Tensor], list[int] | None]
CASES: dict[str, Case] = {
    "rosinality": (lambda: rosinality(0), as_rosinality_means_it, None),
    "genforce": (lambda: genforce(0), as_genforce_means_it, None),
    "genforce orig": (lambda: genforce(0, architecture="orig"), as_genforce_means_it, None),
    "genforce labels": (lambda: genforce(0, classes=3), as_genforce_means_it, [2, 0]),
    "genforce joint": (lambda: genforce(0, classes=3, joint=True), as_genforce_means_it, [2, 0]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_gives_the_images_that_its_code_makes(case: str) -> None:
    make, obvious, label = CASES[case]
    tensors, z = make(), torch.randn(2, W)
    module, _ = opened(tensors)
    images = module(z, None if label is None else torch.tensor(label)).double()
    expected = obvious(tensors, z, label)
    assert float(expected.std()) > 0.3
    assert torch.allclose(images, expected, atol=2e-5 * float(expected.abs().max()))


def test_a_mean_style_beside_the_network_is_its_own() -> None:
    mean = torch.randn(W)
    networks = {"": Network({"latent_avg": mean}), "g_ema": Network(rosinality(0))}
    module, layout = build(Foreign("torch zip", networks, "g_ema"), "the file")
    assert torch.equal(module.mean_style, mean)  # type: ignore[arg-type]
    assert layout.notes == ()


@pytest.mark.parametrize("split", [False, True])
def test_the_rewriting_project_s_chain_holds_the_same_network(split: bool) -> None:
    tensors = rosinality(0)
    mean = torch.randn(W)
    module, _ = opened(in_a_chain(tensors, split=split) | {"latents.latent_avg": mean})
    other, _ = opened(tensors, latent_avg=mean)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(module.mean_style, mean)


@pytest.mark.parametrize("case", [*CASES, "chain", "split chain"])
def test_tensors_go_back_as_they_came(case: str) -> None:
    chain = "chain" in case
    tensors = in_a_chain(rosinality(0), split=case == "split chain") if chain else CASES[case][0]()
    module, layout = opened(tensors)
    state = {name: tensor for name, tensor in module.state_dict().items() if name in layout.keys}
    written = layout.theirs(state)
    assert all(written[name].shape == tensors[name].shape for name in written)
    assert all(torch.allclose(written[name], tensors[name], atol=1e-6) for name in written)
    assert {name for name in tensors if name not in written} == {name for name in tensors if name.endswith(".kernel")}


def nvidia(**geometry: Any) -> tuple[StyleGAN2, State]:
    """A network, and its tensors as NVIDIA stores them: with filters, and one strength of noise a layer."""
    shape: dict[str, Any] = {"resolution": 16, "channels": WIDTHS, "z": W, "w": W, "depth": DEPTH}
    module = StyleGAN2.random(0, noise=0.3, **(shape | geometry))
    tensors = dict(module.state_dict())
    for name in tensors:
        if name.endswith(".noise_strength"):
            tensors[name] = tensors[name][0].clone()
    for path, _ in module.named_modules():
        if path.endswith((".conv0", ".conv1", ".skip")) or (path.startswith("synthesis.b") and path.count(".") == 1):
            tensors[f"{path}.resample_filter"] = LOW_PASS.clone()
    return module, tensors


@pytest.mark.parametrize(
    "geometry", [{}, {"architecture": "resnet"}, {"architecture": "orig"}, {"classes": 3, "z": 4}, {"clamp": 2.0}]
)
def test_nvidia_s_names_are_ours(geometry: dict[str, Any]) -> None:
    module, tensors = nvidia(**geometry)
    facts = {"modules": {"synthesis.b4.conv1": {"attributes": {"conv_clamp": geometry.get("clamp")}}}}
    found, layout = build(Foreign("pickle", {"": Network(tensors, facts)}), "the file")
    assert found.geometry == module.geometry
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in found.state_dict().items())
    written = layout.theirs(module.state_dict())
    assert all(torch.equal(written[name], tensors[name]) for name in written)


def tensorflow(tensors: Mapping[str, Tensor]) -> State:
    """NVIDIA's tensors as the TensorFlow code before it stored them."""
    found: State = {"synthesis/lod": torch.zeros(())}
    for name, tensor in tensors.items():
        parts, kernel = name.split("."), tensor.ndim == 4
        if name == "mapping.w_avg":
            found["dlatent_avg"] = tensor
        elif parts[0] == "mapping":
            path = "LabelEmbed" if parts[1] == "embed" else f"Dense{parts[1][2:]}"
            found[f"mapping/{path}/{parts[2]}"] = tensor.T if parts[2] == "weight" else tensor
        elif parts[2] == "const":
            found["synthesis/4x4/Const/const"] = tensor[None]
        elif parts[-1] == "noise_const":
            number = 2 * int(math.log2(len(tensor))) - (5 if parts[2] == "conv0" else 4)
            found[f"synthesis/noise{number}"] = tensor[None, None]
        elif parts[-1] != "resample_filter":
            first = "Conv" if parts[1] == "b4" else "Conv1"
            modules = {"conv0": "Conv0_up", "conv1": first, "torgb": "ToRGB", "skip": "Skip"}
            path = f"synthesis/{parts[1][1:]}x{parts[1][1:]}/{modules[parts[2]]}"
            if parts[3] == "affine":
                found[f"{path}/mod_{parts[4]}"] = tensor.T if parts[4] == "weight" else tensor - 1
            else:
                turned = tensor.flip(2, 3) if kernel and parts[2] in ("conv0", "skip") else tensor
                found[f"{path}/{parts[3]}"] = turned.permute(2, 3, 1, 0) if kernel else turned
    return found


@pytest.mark.parametrize("geometry", [{}, {"architecture": "resnet"}, {"classes": 3, "z": 4}])
def test_tensorflow_s_variables_are_nvidia_s_in_another_order(geometry: dict[str, Any]) -> None:
    module, tensors = nvidia(**geometry)
    variables = tensorflow(tensors)
    found, layout = build(Foreign("pickle", {"Gs": Network(variables)}, "Gs"), "the file")
    assert found.geometry == module.geometry
    assert layout.unexplained(variables) == []
    assert all(torch.allclose(t, module.state_dict()[name], atol=1e-6) for name, t in found.state_dict().items())
    written = layout.theirs(found.state_dict())
    assert all(torch.allclose(written[name], variables[name], atol=1e-6) for name in written)
    assert set(variables) - set(written) == {"synthesis/lod"}


@pytest.mark.parametrize("geometry", [{}, {"architecture": "resnet"}, {"classes": 3, "z": 4}])
def test_pickles_of_tensorflow_draw_what_the_same_weights_of_pytorch_draw(
    geometry: dict[str, Any], tmp_path: Path
) -> None:
    module, tensors = nvidia(**geometry)
    new, old = tmp_path / "new.pkl", tmp_path / "old.pkl"
    attributes = {"synthesis": {"img_resolution": 16}}
    new.write_bytes(pickles.dumps({"G_ema": pickles.network(tensors, attributes=attributes)}))
    old.write_bytes(pickles.of_tensorflow(tensorflow(tensors), resolution=16))
    files = load(str(new)), load(str(old))
    assert [files[0].architecture, files[1].architecture] == ["stylegan2"] * 2
    label = [0, 2] if "classes" in geometry else None
    z = files[0].latents([0, 1])
    images = [one.synthesize(z, label=label) for one in files]
    assert torch.allclose(images[0], images[1], atol=1e-5)
    assert float(images[0].std()) > 0.1
    with torch.no_grad():
        drawn = module(z, None if label is None else torch.tensor(label))
    assert torch.allclose(images[1], drawn.clamp(-1, 1), atol=1e-5)


def test_tensorflow_s_growing_variant_and_its_labels() -> None:
    _, tensors = nvidia(architecture="orig")
    variables = {name.replace("16x16/ToRGB", "ToRGB_lod0"): tensor for name, tensor in tensorflow(tensors).items()}
    assert opened(variables)[0].geometry["architecture"] == "orig"
    _, tensors = nvidia(classes=3)
    variables = tensorflow(tensors)
    table = variables.pop("mapping/LabelEmbed/weight")
    del variables["mapping/LabelEmbed/bias"]
    module, layout = opened(variables | {"mapping/LabelConcat/weight": table})
    assert module.geometry["joint"]
    z, label = torch.randn(1, W), torch.tensor([2])
    entered = torch.cat([z, table[2:3]], dim=1)
    first = module.mapping.fc0(entered / (entered.square().mean() + 1e-8).sqrt())
    kept: list[Tensor] = []
    with module.mapping.fc0.register_forward_hook(lambda _module, _inputs, output: kept.append(output)):
        module.map(z, label)
    assert torch.allclose(kept[0], first, atol=1e-5)
    written = layout.theirs({name: t for name, t in module.state_dict().items() if name in layout.keys})
    assert torch.allclose(written["mapping/LabelConcat/weight"], table, atol=1e-6)
    with pytest.raises(RewriteError, match="no place for mapping"):
        layout.theirs({"mapping.embed.bias": torch.ones(W)})


@pytest.mark.parametrize(
    ("kwargs", "clamp"),
    [
        ({}, None),
        ({"synthesis_kwargs": {"conv_clamp": 256}}, 256.0),
        ({"synthesis_kwargs": {}}, None),
        ({"channel_base": 512}, 256.0),
        ({"conv_clamp": None}, None),
    ],
)
def test_both_repositories_have_a_clamp_of_their_own(kwargs: dict[str, Any], clamp: float | None) -> None:
    layout = recognise(Foreign("pickle", {"": Network(nvidia()[1], {"init_kwargs": kwargs})}))
    assert layout is not None
    assert layout.geometry["clamp"] == clamp


def test_what_a_file_lacks_is_said() -> None:
    tensors = {name: tensor for name, tensor in rosinality(0).items() if not name.startswith("noises.")}
    module, layout = opened(tensors)
    assert [note.partition(",")[0] for note in layout.notes] == [
        "The file holds no noise",
        "The file holds no mean style; it was taken over 4",
    ]
    z = torch.randn(1, W)
    assert torch.equal(module(z), module(z, noise="none"))
    draws = module.mapping(torch.randn(20_000, W), None).mean(0)
    assert torch.allclose(module.mean_style, draws, atol=0.1)
    assert torch.equal(module.mean_style, opened(tensors)[0].mean_style)
    with pytest.raises(RewriteError, match="no place for synthesis"):
        layout.theirs({"synthesis.b4.conv1.noise_const": torch.ones(4, 4)})


def test_a_strength_for_each_channel_is_refused_where_there_is_one_for_all() -> None:
    _, layout = opened(rosinality(0))
    name = "synthesis.b8.conv1.noise_strength"
    assert layout.theirs({name: torch.full((5,), 0.5)})["convs.1.noise.weight"].tolist() == [0.5]
    with pytest.raises(RewriteError, match="one number for all channels"):
        layout.theirs({name: torch.arange(5.0)})


def test_files_that_cannot_be_are_refused() -> None:
    good, named, other = rosinality(0), nvidia()[1], genforce(0)
    for tensors, reason in (
        (good | {"convs.0.conv.blur.kernel": torch.ones(4, 4)}, "convs.0.conv.blur.kernel is another filter"),
        (good | {"to_rgb1.conv.weight": torch.ones(1, 1, 6, 1, 1)}, "paints 1 channels"),
        (good | {"convs.1.activate.bias": torch.ones(9)}, "expected"),
        ({name: t for name, t in good.items() if name != "convs.3.conv.weight"}, "lacks convs.3.conv.weight"),
        (good | {"convs.1.activate.bias": torch.full((5,), math.inf)}, "NaN or infinity"),
        (named | {"synthesis.b8.resample_filter": torch.ones(4, 4)}, "another filter"),
        ({name: t for name, t in named.items() if name != "synthesis.b8.conv0.bias"}, "lacks synthesis.b8.conv0.bias"),
        (other | {"truncation.w_avg": torch.zeros(5 * W)}, "a style for each layer"),
        ({"some.weight": torch.ones(2)}, "of no generator that is known here"),
    ):
        with pytest.raises(RewriteError, match=reason) as caught:
            build(Foreign("torch zip", {"": Network(tensors)}), "the file")
        assert "\n" not in str(caught.value)
    facts = {"init_kwargs": {"conv_clamp": "much"}}
    with pytest.raises(RewriteError, match="clamped at 'much'"):
        recognise(Foreign("pickle", {"": Network(named, facts)}))
