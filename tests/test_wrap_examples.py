"""The examples of the documentation: networks of other libraries are wrapped, ruled and unit-edited, and undone."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import edits
import rewrite
from rewrite.generator import Generator
from rewrite.latents import Name, draw
from rewrite.units import change

SIDE = 4
"""Of the latents, which are maps of 4 channels."""


class Residual(nn.Module):
    def __init__(self, before: int, after: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(4, after), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm, self.qkv, self.out = nn.GroupNorm(4, width), nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        seen = F.scaled_dot_product_attention(*self.qkv(tokens).chunk(3, -1))
        return x + self.out(seen).transpose(1, 2).unflatten(2, x.shape[2:])


class Decoder(nn.Module):
    """The decoder of a latent diffusion model's autoencoder, small: latents (N, 4, h, w) to images 4 times as large."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, 16, 3, padding=1)
        self.mid = nn.Sequential(Residual(16, 16), Attention(16), Residual(16, 16))
        self.up = nn.ModuleList([Residual(16, 16), Residual(16, 8)])
        self.norm_out, self.conv_out = nn.GroupNorm(4, 8), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z))
        for block in self.up:
            x = F.interpolate(block(x), scale_factor=2)
        return self.conv_out(F.silu(self.norm_out(x)))


def maps(names: Iterable[int | Name]) -> Tensor:
    """Latents as the decoder takes them: a row of numbers a name, as 4 channels."""
    return draw(names, 4 * SIDE * SIDE).unflatten(1, (4, SIDE, SIDE))


def edited(G: Generator, layer: str, folder: Path) -> None:
    """A rule and a unit edit on a layer: each saved, read, applied and undone."""
    box = [0.2, 0.2, 0.7, 0.7]
    pastes = [{"seed": seed, "box": box} for seed in (2, 3)]
    copied = {"layer": layer, "copy": {"seed": 1, "box": box}, "paste": pastes, "rank": 2, "mu": 0.1, "samples": 16}
    before = G.synthesize(G.latents([2, 3]))
    state = {name: tensor.clone() for name, tensor in G.module.state_dict().items()}
    for name, edit in (("rule", rewrite.rule(G, copied)), ("unit", change(G, layer, [1], "ablate"))):
        edit.save(folder / f"{name}.safetensors")
        stack = edits.Stack(G.module)
        stack.push(again := edits.load(folder / f"{name}.safetensors"))
        assert not torch.allclose(G.synthesize(G.latents([2, 3])), before, atol=1e-4), name
        stack.remove(again)
        assert all(torch.equal(tensor, state[key]) for key, tensor in G.module.state_dict().items())
        assert torch.equal(G.synthesize(G.latents([2, 3])), before)
    assert edits.load(folder / "rule.safetensors").notes["residual"] < 1
    assert edits.load(folder / "unit.safetensors").notes["exact"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWRITE_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)


def test_the_decoder_of_a_latent_diffusion_model(tmp_path: Path) -> None:
    G = Generator.wrap(Decoder().requires_grad_(False), latent=4 * SIDE * SIDE, sample=maps, name="vae")
    assert (G.resolution, G.z_dim) == (16, 64)
    assert G.layers["up.1.conv2"].refuses is None
    assert "(2, 16, 16)" in str(G.layers["mid.1.qkv"].refuses), "a sequence of tokens, not a map"
    edited(G, "up.1.conv1", tmp_path)


def test_the_decoder_of_diffusers(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16), up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, sample_size=8,
        down_block_types=("DownEncoderBlock2D",) * 2,
    )  # fmt: skip
    G = Generator.wrap(vae.decoder.requires_grad_(False), latent=4 * SIDE * SIDE, sample=maps, name="vae")
    assert G.resolution == 2 * SIDE
    edited(G, "up_blocks.0.resnets.0.conv1", tmp_path)


def test_a_unet_of_diffusers_at_one_step(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")

    class Step(nn.Module):
        """Noise to what the network makes of it at one time step."""

        def __init__(self) -> None:
            super().__init__()
            self.unet = diffusers.UNet2DModel(
                sample_size=8, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
                down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
            )  # fmt: skip

        def forward(self, noise: Tensor) -> Tensor:
            return self.unet(noise, 500).sample

    def noise(names: Iterable[int | Name]) -> Tensor:
        return draw(names, 3 * 8 * 8).unflatten(1, (3, 8, 8))

    G = Generator.wrap(Step().requires_grad_(False), latent=3 * 8 * 8, sample=noise, name="unet")
    edited(G, "unet.up_blocks.0.resnets.0.conv1", tmp_path)
