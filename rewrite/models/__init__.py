"""Families of generators, one file each, and how one is loaded. Only this package knows an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rewrite.checkpoints import native
from rewrite.checkpoints.read import read
from rewrite.errors import RewriteError, nearest
from rewrite.generator import Generator
from rewrite.models.cache import cached, pull, shipped
from rewrite.models.registry import FAMILIES, build, empty, recognise
from rewrite.models.zoo import ZOO


def load(name: str | Path, *, device: str | torch.device = "cpu") -> Generator:
    """A generator by the name of a model, which is fetched at first use, or from a checkpoint file, ours or another's.

    It is in eval mode, float32, and asks for no gradients. A baked checkpoint goes by the name of the model it was made
    from; any other file has no name, so that recipes are not tied to where it lies. Files of others are recognised by
    what is in them, and nothing in them is run. RewriteError if the name or the file is not known, or the file is not
    intact.
    """
    if name in ZOO:
        module, generator, card = _named(str(name))
        label = str(name)
    elif Path(name).is_file():
        module, generator, card = _read(Path(name))
        label = card["model"] if card.get("model") in tuple(ZOO) else ""
    else:
        raise RewriteError(
            f"there is neither a model nor a checkpoint file {str(name)!r}; nearest model: "
            f"{nearest(str(name), ZOO)} (`rewrite models` lists them all)"
        )
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it keeps no numbers")
        module.to(device)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise RewriteError(
            f"there is no device {str(device)!r} here; expected cpu, or cuda, cuda:1 or mps where torch finds one"
        ) from error
    made = generator(module.eval().requires_grad_(False), name=label, card=card)
    return replace(made, statistics=shipped(label)) if label in ZOO and ZOO[label].source is None else made


def save(generator: Generator, path: Path, *, history: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the weights as they are now, for `load` to read; `history` names the edits baked into them.

    RewriteError if the generator is of no family here: a wrapped network has no geometry to rebuild it from.
    """
    if generator.architecture not in FAMILIES:
        raise RewriteError(
            f"{generator.name or 'this generator'} is of no family that a checkpoint names; expected one of "
            f"{', '.join(FAMILIES)}, so save its state dict with torch instead"
        )
    card = {key: value for key, value in generator.card.items() if key != "history"}
    card |= {"model": generator.name} if generator.name in ZOO else {}
    before = generator.card.get("history", [])
    geometry: Any = generator.module.geometry
    native.write(
        path,
        native.Checkpoint(generator.architecture, geometry, card, generator.module.state_dict(), (*before, *history)),
    )


def _named(name: str) -> tuple[nn.Module, Callable[..., Generator], dict[str, Any]]:
    path = cached(name)
    if not path.exists():
        pull(name)
    try:
        return _read(path)
    except RewriteError as error:
        raise RewriteError(f"{error}: run `rewrite pull {name}`") from None


def _read(path: Path) -> tuple[nn.Module, Callable[..., Generator], dict[str, Any]]:
    """The module in a checkpoint file, what makes its generator, and the card."""
    if not native.claims(path):
        foreign = read(path)
        module, layout = build(foreign, str(path))
        card = {"origin": f"{foreign.container} with {layout.why}", "notes": " ".join(layout.notes)}
        return module, FAMILIES[layout.family][1], {key: value for key, value in card.items() if value}
    checkpoint = native.read(path)
    module = empty(checkpoint.family, checkpoint.geometry, str(path))
    native.fill(module, checkpoint.tensors, str(path))
    card = dict(checkpoint.card) | ({"history": [*checkpoint.history]} if checkpoint.history else {})
    return module, FAMILIES[checkpoint.family][1], card


__all__ = ["FAMILIES", "ZOO", "cached", "load", "pull", "recognise", "save"]
