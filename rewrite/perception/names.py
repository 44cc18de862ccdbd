"""Extractors and perceptual distances that have names. A name gives that one, or an error: never another."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from rewrite.channels_last import channels_last
from rewrite.errors import RewriteError, nearest
from rewrite.perception import lite0
from rewrite.perception.dinov2 import FILES, SIDE, DinoV2
from rewrite.perception.features import Extractor
from rewrite.perception.identity import Identity
from rewrite.perception.inception import PUBLISHED, URL, Inception
from rewrite.perception.lpips import PLANS, lpips
from rewrite.perception.perceptual import Perceptual
from rewrite.perception.weights import Weights, from_hub, read
from rewrite.progress import Progress, quiet

LAYERS = {"112": 10, "320": 15}
"""Layers of lite0 by their number of features: the block, whose output is averaged over places."""
LITE0 = re.compile(r"lite0(?:@(\d+))?(?:/(\d+))?")
PD_BLOCKS = {0: 16, 2: 24, 4: 40, 10: 112, 15: 320}
"""What pd-lite0 looks at: blocks, and how many channels each has."""


def extractor(
    name: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = quiet,
) -> Extractor:
    """The extractor of that name.

    `lite0` (or `lite0@128/320`: side in px, features): an offline proxy, whose weights come with a package.
    `inception`: what FID and KID are measured with. `dinov2-vits14`, `-vitb14`, `-vitl14`, `-vitg14`: for FD-DINOv2.
    The latter two read `checkpoint`, or else their published file from torch's cache. RewriteError, with the remedy, if
    the name is unknown or weights are missing, damaged or not of this network.
    """
    asked = LITE0.fullmatch(name)
    if asked and checkpoint is None:
        return _lite0(asked[1], asked[2], device, progress)
    if name == "inception":
        found = _weights(URL, checkpoint, name)
        identity = PUBLISHED
        if found.sha256 != PUBLISHED.weights:
            identity = replace(PUBLISHED, name="inception with other weights", weights=found.sha256)
        return Extractor(identity, _built(Inception, found, name).to(device))
    if name in FILES:
        found = _weights(FILES[name], checkpoint, name)
        identity = Identity(name, "class token", SIDE, "bicubic, antialiased", "uint8", found.sha256)
        return Extractor(identity, _built(DinoV2, found, name).to(device))
    if asked:
        raise RewriteError(f"{name} was given the checkpoint {checkpoint}; its weights are pinned, so leave that out")
    raise RewriteError(
        f"there is no extractor {name!r}; nearest: {nearest(name, ['lite0', 'lite0@64/112', 'inception', *FILES])}"
    )


def distance(name: str, *, device: torch.device | str = "cpu", progress: Progress = quiet) -> Perceptual:
    """The distance between two images of that name: `lpips-alex`, `lpips-vgg`, `lpips-squeeze`, or `pd-lite0`.

    pd-lite0 weighs all channels of five blocks of lite0 alike: no person's judgement is in it, and it is not LPIPS.
    RewriteError, with the remedy, if the name is unknown or weights are missing or damaged.
    """
    kind, _, net = name.partition("-")
    if kind == "lpips" and net in PLANS:
        return lpips(net).to(device)
    if name == "pd-lite0":
        weights = lite0.weights(progress=progress)
        network = lite0.Lite0(weights.tensors)
        identity = Identity(name, "+".join(map(str, PD_BLOCKS)), weights=weights.sha256)
        flat = [torch.full((width,), 1 / len(PD_BLOCKS)) for width in PD_BLOCKS.values()]
        return Perceptual(identity, _Blocks(network), flat, least=32, multiple=32).to(device)
    names = ["pd-lite0", *(f"lpips-{net}" for net in PLANS)]
    raise RewriteError(f"there is no perceptual distance {name!r}; nearest: {nearest(name, names)}")


def _lite0(side: str | None, layer: str | None, device: torch.device | str, progress: Progress) -> Extractor:
    resolution, layer = int(side or 64), layer or "112"
    if layer not in LAYERS or resolution % 32 or not 32 <= resolution <= 1024:
        raise RewriteError(
            f"lite0@{resolution}/{layer} is not to be had; expected a side of 32 to 1024 px, a multiple of 32, and "
            f"{' or '.join(LAYERS)} features"
        )
    found = lite0.weights(progress=progress)
    network = _Pooled(lite0.Lite0(found.tensors), LAYERS[layer])
    identity = Identity("lite0", layer, resolution, "bicubic, antialiased", "uint8", found.sha256)
    return Extractor(identity, network.to(device))


class _Pooled(nn.Module):
    """The mean over places of one block of lite0."""

    def __init__(self, network: lite0.Lite0, block: int):
        super().__init__()
        self.network, self.block = network, block

    def forward(self, images: Tensor) -> Tensor:
        (maps,) = self.network(channels_last(images), [self.block])
        return cast(Tensor, maps.mean((2, 3)))


class _Blocks(nn.Module):
    """The blocks of lite0 that pd-lite0 looks at."""

    def __init__(self, network: lite0.Lite0):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.network(channels_last(images), list(PD_BLOCKS))
        return found


def _weights(url: str, checkpoint: str | os.PathLike[str] | None, name: str) -> Weights:
    if checkpoint is None:
        return from_hub(url, name)
    return read(Path(checkpoint).expanduser(), name, f"give the path of the published file ({url})")


def _built(network: Callable[[Mapping[str, Tensor]], nn.Module], found: Weights, name: str) -> nn.Module:
    try:
        return network(found.tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise RewriteError(f"the weights given for {name} are of another network ({error}); fetch its own") from None
