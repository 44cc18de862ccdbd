"""All that counts hang on beside what is asked: network, layers, segmenter and which images are natural."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from edits.identity import state
from rewrite.concepts import Segmenter
from rewrite.concepts import labels as label_maps
from rewrite.generator import Generator
from rewrite.keep import digest
from rewrite.units.features import Site, World
from rewrite.units.protocol import CHOOSING


def surroundings(
    generator: Generator, found: Mapping[str, Site], segmenter: Segmenter | None, world: World
) -> dict[str, Any]:
    """As JSON. What a network and a segmenter do is told by what they make of a few latents."""
    with torch.no_grad():
        images = generator.synthesize(ws=world.styles(generator, CHOOSING, range(4)), noise=world.noise)
    witness = {"images": images}
    if segmenter is not None:
        witness["labels"] = label_maps(segmenter, images)
    return {
        "architecture": generator.architecture,
        "weights": digest(state(generator.module)),
        "device": generator.device.type,
        "layers": [[name, site.units, *site.grid] for name, site in found.items()],
        "classes": None if segmenter is None else list(segmenter.classes),
        "truncation": world.truncation,
        "noise": world.noise,
        "witness": hashlib.sha256(digest(witness).encode()).hexdigest(),
    }
