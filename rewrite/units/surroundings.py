"""All that counts hang on beside what is asked: network, layers, segmenter and which images are natural."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
        "segmenter": told(segmenter),
        "truncation": world.truncation,
        "noise": world.noise,
        "witness": hashlib.sha256(digest(witness).encode()).hexdigest(),
    }


def told(part: Any, within: tuple[int, ...] = ()) -> Any:
    """What a segmenter is made of, as JSON: numbers, weights, and the code of what a person wrote.

    A few images do not tell two apart that differ in what is rare.
    """
    if part is None or isinstance(part, str | int | float):
        return part
    if isinstance(part, Tensor | np.ndarray):
        return digest({"": torch.as_tensor(part)})
    if isinstance(part, nn.Module):
        return [_code(part), digest(part.state_dict())]
    if id(part) in within:
        return None
    within = (*within, id(part))
    if isinstance(part, Mapping):
        return {str(key): told(item, within) for key, item in part.items()}
    if isinstance(part, list | tuple):
        return [told(item, within) for item in part]
    return [_code(part), told(getattr(part, "__dict__", None), within)]


def _code(part: Any) -> str:
    maker = part if inspect.isroutine(part) else type(part)
    try:
        source = inspect.getsource(maker)
    except (OSError, TypeError):
        source = repr(getattr(getattr(maker, "__code__", None), "co_code", maker.__qualname__))
    return hashlib.sha256(source.encode()).hexdigest()
