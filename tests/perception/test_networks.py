"""Inception and DINOv2 against other people's arithmetic, on random weights in the published layout."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rewrite.errors import RewriteError
from rewrite.perception import Figure, extractor
from rewrite.perception.dinov2 import DinoV2

from .conftest import keep, normal

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def theirs(torchvision, tmp_path_factory):
    """torch-fidelity's network with random weights, out of a torch cache; and the TORCH_HOME that it lies in."""
    from torch_fidelity import FeatureExtractorInceptionV3 as Theirs

    home = tmp_path_factory.mktemp("inception")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        patch.setattr(torch, "load", lambda *_, **__: None)
        patch.setattr(Theirs, "load_state_dict", lambda *_, **__: None)
        blank = Theirs("inception-v3-compat", ["2048"], feature_extractor_weights_path="none").state_dict()
        patch.undo()
        patch.setenv("TORCH_HOME", str(home))
        keep({name: drawn(i, tensor) for i, (name, tensor) in enumerate(blank.items())}, home, INCEPTION)
        return Theirs("inception-v3-compat", ["2048"]), home


def drawn(seed: int, like: torch.Tensor) -> torch.Tensor:
    """Weights that keep the size of what passes; gains and variances near 1."""
    if like.ndim == 4:
        return normal(seed, *like.shape) * (2 / like[0].numel()) ** 0.5
    if like.ndim == 1:
        return 1 + 0.2 * normal(seed, *like.shape).clamp(-2, 2)
    return torch.zeros_like(like)


@pytest.mark.parametrize("side", [64, 299])
def test_inception_is_torch_fidelitys(theirs, monkeypatch, side):
    network, home = theirs
    monkeypatch.setenv("TORCH_HOME", str(home))
    pixels = torch.randint(0, 256, (1, 3, side, side), generator=torch.Generator().manual_seed(side)).byte()
    (expected,) = network(pixels)
    eye = extractor("inception")
    found = eye(pixels / 127.5 - 1)
    assert found.shape == (1, 2048)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_random_inception_weights_are_not_called_fid(theirs, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(theirs[1]))
    identity = extractor("inception").identity
    assert identity == extractor("inception", checkpoint=theirs[1] / "hub" / "checkpoints" / INCEPTION).identity
    assert Figure("FD", 1.0, identity, (1, 1)).label == "FD-inception with other weights@299/2048 (not FID)"


def test_missing_and_foreign_weights_are_refused(empty_hub, tmp_path):
    for name, file in (("inception", INCEPTION), ("dinov2-vitb14", "dinov2_vitb14_pretrain.pth")):
        with pytest.raises(RewriteError, match=f"{name} needs {file}, which is not in .* could not be downloaded"):
            extractor(name)
        foreign = keep({"blocks.0.x": torch.zeros(1)}, tmp_path, "foreign.pth")
        with pytest.raises(RewriteError, match=f"the weights given for {name} are of another network"):
            extractor(name, checkpoint=foreign)
        with pytest.raises(RewriteError, match=f"{name} cannot be read from .*none.pth .*; give the path of the publ"):
            extractor(name, checkpoint=Path("none.pth"))


def vit(gated: bool, *, depth: int = 2, width: int = 128, side: int = 16) -> dict[str, torch.Tensor]:
    """A small transformer in DINOv2's layout; `side` patches a side were it was trained."""
    wide = 96
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, side * side + 1, width), "mask_token": (1, width)}
    shapes |= {"patch_embed.proj.weight": (width, 3, 14, 14), "patch_embed.proj.bias": (width,)}
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    first, last = ("w12", "w3") if gated else ("fc1", "fc2")
    linears = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    linears |= {f"mlp.{first}": (2 * wide if gated else wide, width), f"mlp.{last}": (width, wide)}
    for i in range(depth):
        for part, shape in linears.items():
            shapes |= {f"blocks.{i}.{part}.weight": shape, f"blocks.{i}.{part}.bias": shape[:1]}
        for part in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{part}.weight": (width,), f"blocks.{i}.{part}.bias": (width,)}
        shapes |= {f"blocks.{i}.ls1.gamma": (width,), f"blocks.{i}.ls2.gamma": (width,)}
    return {name: normal(i, *shape) / shape[-1] ** 0.5 for i, (name, shape) in enumerate(shapes.items())}


def slow_vit(tensors: dict[str, torch.Tensor], images: torch.Tensor, gated: bool) -> torch.Tensor:
    """Out of torch's own modules, image by image and patch by patch."""

    def loaded(module: nn.Module, path: str) -> nn.Module:
        module.load_state_dict({part: tensors[f"{path}.{part}"] for part in ("weight", "bias")})
        return module

    def attend(x: torch.Tensor, path: str) -> torch.Tensor:
        attention = nn.MultiheadAttention(128, 2, batch_first=True)
        names = {"in_proj_": "qkv", "out_proj.": "proj"}
        attention.load_state_dict(
            {f"{to}{part}": tensors[f"{path}.{of}.{part}"] for to, of in names.items() for part in ("weight", "bias")}
        )
        return attention(x, x, x, need_weights=False)[0]

    def perceive(x: torch.Tensor, path: str) -> torch.Tensor:
        if not gated:
            return loaded(nn.Linear(96, 128), f"{path}.fc2")(nn.GELU()(loaded(nn.Linear(128, 96), f"{path}.fc1")(x)))
        both = loaded(nn.Linear(128, 192), f"{path}.w12")(x)
        return loaded(nn.Linear(96, 128), f"{path}.w3")(nn.SiLU()(both[..., :96]) * both[..., 96:])

    mean, deviation = (torch.tensor(c).view(1, 3, 1, 1) for c in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pixels = (images * 0.5 + 0.5 - mean) / deviation
    project = tensors["patch_embed.proj.weight"].flatten(1)
    patches = [
        pixels[:, :, 14 * y : 14 * y + 14, 14 * x : 14 * x + 14].flatten(1) @ project.T
        for y in range(16)
        for x in range(16)
    ]
    x = torch.stack(patches, 1) + tensors["patch_embed.proj.bias"]
    x = torch.cat([tensors["cls_token"].repeat(len(x), 1, 1), x], 1) + tensors["pos_embed"]
    for i in range(2):
        path = f"blocks.{i}"
        normed = loaded(nn.LayerNorm(128, 1e-6), f"{path}.norm1")(x)
        x = x + tensors[f"{path}.ls1.gamma"] * attend(normed, f"{path}.attn")
        normed = loaded(nn.LayerNorm(128, 1e-6), f"{path}.norm2")(x)
        x = x + tensors[f"{path}.ls2.gamma"] * perceive(normed, f"{path}.mlp")
    return loaded(nn.LayerNorm(128, 1e-6), "norm")(x)[:, 0]


@pytest.mark.parametrize("gated", [False, True])
def test_dinov2_is_a_vision_transformer(gated):
    tensors, images = vit(gated), normal(1, 2, 3, 224, 224)
    with torch.no_grad():
        expected = slow_vit(tensors, images, gated)
        torch.testing.assert_close(DinoV2(tensors)(images), expected, rtol=1e-4, atol=1e-4)


def test_dinov2_by_name_resizes_images_and_position_codes(tmp_path):
    tensors = vit(False, side=37)
    path = keep(tensors, tmp_path, "dinov2_vits14_pretrain.pth")
    eye = extractor("dinov2-vits14", checkpoint=path)
    assert eye.identity.short == "dinov2-vits14@224/class token"
    assert eye.identity.rounding == "uint8"
    assert eye.of([normal(2, 2, 3, 64, 64).clamp(-1, 1)]).values.shape == (2, 128)
    # Codes that do not vary from place to place stay as they are.
    flat = tensors | {"pos_embed": tensors["pos_embed"][:, :1].expand(-1, 1 + 37 * 37, -1)}
    small = tensors | {"pos_embed": tensors["pos_embed"][:, :1].expand(-1, 1 + 16 * 16, -1)}
    images = normal(3, 1, 3, 224, 224)
    torch.testing.assert_close(DinoV2(flat)(images), DinoV2(small)(images), rtol=1e-4, atol=1e-4)
