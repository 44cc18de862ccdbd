"""Well-known networks that are of no family here: what they are, and what can be done with them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WRAP = "build it with its own code and give it to rewrite.Generator.wrap"
_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"model\.diffusion_model\.",
        f"a Stable Diffusion checkpoint; of its parts the VAE decoder draws images, so {_WRAP}",
    ),
    (
        r"(.*\.)?(lora_[AB]\.|lora_(up|down)\.|lora_unet_)",
        "a LoRA, a change of weights and no network; `rewrite import` reads those of PEFT",
    ),
    (
        r"(decoder\.(conv_in|up|up_blocks)\.|first_stage_model\.)",
        f"a VAE, as latent diffusion uses it; {_WRAP}, its decoder alone",
    ),
    (r"(down_blocks|mid_block|up_blocks)\.\d", f"a UNet of diffusers; {_WRAP}"),
    (
        r"(transformer_blocks|double_blocks|single_blocks|joint_blocks)\.\d",
        f"a diffusion transformer; {_WRAP}",
    ),
    (r"(.*\.)?text_model\.", "a text encoder (CLIP), which draws no images"),
    (
        r"(model\.layers|transformer\.h|layers)\.\d+\.(self_attn|attn|attention)\.",
        "a language model, which draws no images",
    ),
    (
        r"((.*\.)?blocks?\.\d+\.attn\.|.*encoder\.layer\.\d)",
        "a transformer that sees or reads, and draws no images",
    ),
    (r"layer[1-4]\.\d\.conv1\.", "a ResNet, which classifies images and draws none"),
    (
        r"(b\d+\.(fromrgb|conv0|skip)\.|(discriminator|netD)\.)",
        "a discriminator, which judges images and draws none",
    ),
    (
        r"(.*/)?(Dense0|4x4|8x8)/",
        "a network of NVIDIA's TensorFlow code; convert it with the `legacy.py` of stylegan2-ada-pytorch",
    ),
)
"""Beginnings of names, the most telling first."""
SAMPLE = 20_000


def described(names: Iterable[str]) -> str:
    """What the network with tensors of these names is, a phrase with advice."""
    some = [name for name, _ in zip(names, range(SAMPLE), strict=False)]
    if not some:
        return (
            "it holds no network, so it may be settings or the state of an optimiser; give the file with a generator's "
            "weights"
        )
    for pattern, what in _KNOWN:
        start = re.compile(pattern)
        if any(start.match(name) for name in some):
            return what
    return f"not a generator that is known; if it makes images of latents, {_WRAP}"


__all__ = ["described"]
