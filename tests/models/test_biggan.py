"""BigGAN-deep against an obvious second implementation, from the tensors of pytorch-pretrained-biggan."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rewrite.checkpoints.foreign import Foreign, Network
from rewrite.errors import RewriteError
from rewrite.latents import Row, Vector
from rewrite.models.biggan import BigGAN, generator, sample
from rewrite.models.registry import build

BLOCKS = [[False, 64, 64], [True, 64, 32], [False, 32, 16], [True, 16, 8], [False, 8, 8], [True, 8, 4]]
Z, CLASSES, EMBEDDING, WIDTH, ATTENTION = 5, 4, 6, 4, 3


def file(seed: int) -> dict[str, Tensor]:
    """A state dict with spectral norms unfolded."""
    torch.manual_seed(seed)
    found: dict[str, Tensor] = {"embeddings.weight": torch.randn(EMBEDDING, CLASSES)}

    def normed(path: str, *shape: int, bias: bool = True) -> None:
        weight = torch.randn(*shape) / math.sqrt(math.prod(shape[1:]))
        u, _, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        # A few power iterations have come near the largest singular vectors, no nearer.
        near = [F.normalize(side + 0.1 * torch.randn_like(side), dim=0) for side in (u[:, 0], v[0])]
        found.update({f"{path}.weight_orig": weight, f"{path}.weight_u": near[0], f"{path}.weight_v": near[1]})
        found.update({f"{path}.bias": torch.randn(shape[0]) * 0.2} if bias else {})

    def norm(path: str, channels: int, *, conditional: bool = True) -> None:
        found[f"{path}.running_means"] = torch.randn(51, channels) * 0.3
        found[f"{path}.running_vars"] = torch.rand(51, channels) + 0.5
        if conditional:
            normed(f"{path}.scale", channels, Z + EMBEDDING, bias=False)
            normed(f"{path}.offset", channels, Z + EMBEDDING, bias=False)
        else:
            found.update({f"{path}.weight": torch.randn(channels), f"{path}.bias": torch.randn(channels) * 0.3})

    normed("generator.gen_z", 4 * 4 * 16 * WIDTH, Z + EMBEDDING)
    number = 0
    for i, (_, before, after) in enumerate(BLOCKS):
        if i == ATTENTION:
            path = f"generator.layers.{number}"
            for part, out, into in (("theta", 8, 1), ("phi", 8, 1), ("g", 2, 1), ("o_conv", 1, 2)):
                normed(f"{path}.snconv1x1_{part}", before // out, before // into, 1, 1, bias=False)
            found[f"{path}.gamma"] = torch.tensor([0.8])
            number += 1
        path, inside = f"generator.layers.{number}", before // 4
        for j, (into, out, kernel) in enumerate(
            ((before, inside, 1), (inside, inside, 3), (inside, inside, 3), (inside, after, 1))
        ):
            norm(f"{path}.bn_{j}", into)
            normed(f"{path}.conv_{j}", out, into, kernel, kernel)
        number += 1
    norm("generator.bn", WIDTH, conditional=False)
    normed("generator.conv_to_rgb", WIDTH, WIDTH, 3, 3)
    return found


def obvious(
    tensors: Mapping[str, Tensor], z: Tensor, label: Sequence[int], truncation: float, *, exact: bool = True
) -> Tensor:
    """The paper's form, an image at a time, in float64; batch statistics as the original takes them, if `exact`."""
    state = {name: tensor.double() for name, tensor in tensors.items()}

    def weight(path: str) -> Tensor:
        if f"{path}.weight_orig" not in state:
            return state[f"{path}.weight"]
        stored = state[f"{path}.weight_orig"]
        return stored / (state[f"{path}.weight_u"] @ stored.flatten(1) @ state[f"{path}.weight_v"])

    def convolved(x: Tensor, path: str) -> Tensor:
        kernel = weight(path)
        return F.conv2d(x[None], kernel, state.get(f"{path}.bias"), padding=kernel.shape[-1] // 2)[0]

    def normed(x: Tensor, path: str, condition: Tensor) -> Tensor:
        share, row = math.modf(truncation / 0.02)
        rows = [state[f"{path}.{name}"] for name in ("running_means", "running_vars")]
        near = share if exact else 1 - share
        mean, var = (
            values[int(row)] * near + values[int(row) + 1] * (1 - near) if share else values[int(row)]
            for values in rows
        )
        scale = 1 + weight(f"{path}.scale") @ condition if f"{path}.scale.weight_orig" in state else weight(path)
        offset = weight(f"{path}.offset") @ condition if f"{path}.scale.weight_orig" in state else state[f"{path}.bias"]
        x = (x - mean[:, None, None]) / (var + 1e-4).sqrt()[:, None, None]
        return (x * scale[:, None, None] + offset[:, None, None]).relu()

    def doubled(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 1).repeat_interleave(2, 2)

    images = []
    for one, number in zip(z.double(), label, strict=True):
        condition = torch.cat([one * truncation, state["embeddings.weight"][:, number]])
        x = weight("generator.gen_z") @ condition + state["generator.gen_z.bias"]
        x = x.view(4, 4, 16 * WIDTH).permute(2, 0, 1)
        index = 0
        for i, (up, _, after) in enumerate(BLOCKS):
            if i == ATTENTION:
                path = f"generator.layers.{index}.snconv1x1"
                asked = convolved(x, f"{path}_theta").flatten(1)
                offered = F.max_pool2d(convolved(x, f"{path}_phi"), 2).flatten(1)
                content = F.max_pool2d(convolved(x, f"{path}_g"), 2).flatten(1)
                seen = torch.stack([content @ (offered.T @ place).softmax(0) for place in asked.T], dim=1)
                x = x + state[f"generator.layers.{index}.gamma"] * convolved(
                    seen.view(-1, *x.shape[1:]), f"{path}_o_conv"
                )
                index += 1
            path, inside = f"generator.layers.{index}", x
            for j in range(4):
                inside = normed(inside, f"{path}.bn_{j}", condition)
                inside = convolved(doubled(inside) if up and j == 1 else inside, f"{path}.conv_{j}")
            around = x[:after]
            x, index = inside + (doubled(around) if up else around), index + 1
        images.append(convolved(normed(x, "generator.bn", condition), "generator.conv_to_rgb")[:3].tanh())
    return torch.stack(images)


def opened(tensors: Mapping[str, Tensor]) -> BigGAN:
    module, layout = build(Foreign("torch stream", {"": Network(tensors)}), "the file")
    assert isinstance(module, BigGAN)
    assert layout.unexplained(tensors) == []
    return module


def images(module: BigGAN, z: Tensor, label: Sequence[int], truncation: float) -> Tensor:
    G = generator(module)
    return G.synthesize(ws=G.styles(z, truncation=truncation, label=label)).double()


@pytest.mark.parametrize("truncation", [1.0, 0.5, 0.1, 0.405, 0.14, 0.58])
def test_a_file_gives_the_obvious_images(truncation: float) -> None:
    tensors = file(0)
    z = torch.randn(2, Z)
    expected = obvious(tensors, z, [3, 0], truncation)
    assert float(expected.std()) > 0.05
    assert torch.allclose(images(opened(tensors), z, [3, 0], truncation), expected, atol=1e-5)


def test_statistics_between_rows_can_be_weighed_the_right_way_round() -> None:
    tensors = file(0)
    module, z = opened(tensors), torch.randn(1, Z)
    right = BigGAN(**module.geometry, exact=False).eval().requires_grad_(False)
    right.load_state_dict(module.state_dict())
    assert BigGAN(**right.geometry).geometry == right.geometry
    expected = obvious(tensors, z, [1], 0.405, exact=False)
    assert torch.allclose(images(right, z, [1], 0.405), expected, atol=1e-5)
    assert not torch.allclose(images(module, z, [1], 0.405), expected, atol=1e-3)
    assert torch.equal(images(right, z, [1], 0.5), images(module, z, [1], 0.5))


def test_an_edited_weight_goes_back_under_the_norm_that_its_code_divides_by() -> None:
    tensors = file(0)
    module, layout = build(Foreign("torch stream", {"": Network(tensors)}), "the file")
    name = "generator.layers.1.conv_1.weight"
    stored = module.state_dict()[name]
    stored.add_(0.3 * torch.randn(stored.shape))
    written = layout.theirs({name: stored})
    assert set(written) == {f"{name}_orig", f"{name}_u"}
    z = torch.randn(1, Z)
    assert torch.allclose(
        images(module, z, [2], 1.0),  # type: ignore[arg-type]
        obvious(tensors | written, z, [2], 1.0),
        atol=1e-5,
    )


def test_latents_are_cut_at_two_by_the_convention_of_the_project() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy draws the reference latents")
    drawn = sample([7, Row(3, 2), Vector((0.5,) * Z)], Z)
    expected = stats.truncnorm.rvs(-2, 2, size=(1, Z), random_state=np.random.RandomState(7))
    assert torch.allclose(drawn[0], torch.from_numpy(expected[0]).float())
    row = stats.truncnorm.rvs(-2, 2, size=(4, Z), random_state=np.random.RandomState(3))[2]
    assert torch.allclose(drawn[1], torch.from_numpy(row).float())
    assert drawn[2].tolist() == [0.5] * Z
    assert sample(range(200), Z).abs().max() <= 2
    with pytest.raises(RewriteError, match="is no seed"):
        sample([-1], Z)


def test_labels_and_truncations_that_cannot_be_are_errors() -> None:
    module = opened(file(0))
    G = generator(module)
    z = G.latents([1])
    with pytest.raises(RewriteError, match="from 0 to 3"):
        G.styles(z, label=[4])
    with pytest.raises(RewriteError, match="statistics for 0 to 1"):
        G.styles(z, label=[1], truncation=1.5)
    with pytest.raises(RewriteError, match="needs a label"):
        G.synthesize(z)


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": []},
        {"blocks": [[False, 64, 60]]},
        {"blocks": [[False, 32, 4]]},
        {"attention": 6},
        {"statistics": 1},
        {"z": 0},
        {"width": 2},
    ],
)
def test_impossible_geometries_are_errors(change: dict[str, Any]) -> None:
    geometry = opened(file(0)).geometry
    with pytest.raises(RewriteError):
        BigGAN(**(geometry | change))
