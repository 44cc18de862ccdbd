"""DINOv2's vision transformers, for the class token that FD-DINOv2 is measured on.

Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision"; Stein et al. 2023, "Exposing flaws of
generative model evaluation metrics". Size and kind are read off the tensors; their names are those of the published
files.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 224
PATCH = 14
HEAD = 64
"""Channels of an attention head, in every size."""
EPS = 1e-6
OFFSET = 0.1
"""Added to the number of patches a side where position codes are resized: the published weights are used so."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of pixels in [0, 1]."""
FILES: Mapping[str, str] = {
    f"dinov2-vit{size}14": f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vit{size}14/dinov2_vit{size}14_pretrain.pth"
    for size in "sblg"
}


class DinoV2(nn.Module):
    """Images (N, 3, 224, 224) in [-1, 1] to class tokens (N, d), normalised; KeyError on foreign tensors."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        self.patches = _Affine(tensors, "patch_embed.proj")
        self.token = nn.Parameter(tensors["cls_token"])
        self.position = nn.Parameter(_resized(tensors["pos_embed"], SIDE // PATCH))
        depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
        self.blocks = nn.Sequential(*(_Block(tensors, f"blocks.{i}") for i in range(depth)))
        self.norm = _Affine(tensors, "norm")
        for name, colour in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(colour)[:, None, None])
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        x = ((images + 1) / 2 - self.mean) / self.deviation
        x = rearrange(F.conv2d(x, self.patches.weight, self.patches.bias, PATCH), "n c h w -> n (h w) c")
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return _normalised(self.blocks(x)[:, 0], self.norm)


class _Block(nn.Module):
    """Attention, then a perceptron, each added after a gain a channel (LayerScale)."""

    def __init__(self, tensors: Mapping[str, Tensor], path: str):
        super().__init__()
        self.gated = f"{path}.mlp.w12.weight" in tensors
        first, last = ("w12", "w3") if self.gated else ("fc1", "fc2")
        self.norm1, self.norm2 = _Affine(tensors, f"{path}.norm1"), _Affine(tensors, f"{path}.norm2")
        self.qkv, self.mix = _Affine(tensors, f"{path}.attn.qkv"), _Affine(tensors, f"{path}.attn.proj")
        self.widen, self.narrow = (
            _Affine(tensors, f"{path}.mlp.{first}"),
            _Affine(tensors, f"{path}.mlp.{last}"),
        )
        self.gain1, self.gain2 = (nn.Parameter(tensors[f"{path}.ls{i}.gamma"]) for i in (1, 2))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(_normalised(x, self.norm1))
        q, k, v = rearrange(qkv, "n t (part head c) -> part n head t c", part=3, c=HEAD)
        seen = rearrange(F.scaled_dot_product_attention(q, k, v), "n head t c -> n t (head c)")
        x = x + self.gain1 * self.mix(seen)
        wide = self.widen(_normalised(x, self.norm2))
        if self.gated:
            gate, wide = wide.chunk(2, -1)
            wide = F.silu(gate) * wide
        else:
            wide = F.gelu(wide)
        return x + self.gain2 * self.narrow(wide)


class _Affine(nn.Module):
    def __init__(self, tensors: Mapping[str, Tensor], path: str):
        super().__init__()
        self.weight = nn.Parameter(tensors[f"{path}.weight"])
        self.bias = nn.Parameter(tensors[f"{path}.bias"])

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def _normalised(x: Tensor, norm: _Affine) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, EPS)


def _resized(position: Tensor, across: int) -> Tensor:
    """Position codes (1, 1 + P x P, d) at `across` patches a side."""
    token, places = position[:, :1], position[:, 1:]
    side = round(places.shape[1] ** 0.5)
    if side == across:
        return position
    square = rearrange(places, "n (h w) c -> n c h w", h=side)
    factor = (across + OFFSET) / side
    square = F.interpolate(square, scale_factor=(factor, factor), mode="bicubic", align_corners=False)
    return torch.cat([token, rearrange(square, "n c h w -> n (h w) c")], 1)
