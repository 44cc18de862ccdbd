"""Which family a file's tensors are of: every layout that is known, asked in turn; and the network they make up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from edits.finite import finite
from rewrite.checkpoints import native
from rewrite.checkpoints.foreign import Foreign
from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.models import biggan, dcgan, mobilestylegan, pggan, sngan, stylegan, stylegan2, stylegan3
from rewrite.models.layout import Explain, Layout
from rewrite.models.stylegan2 import genforce as stylegan2_genforce
from rewrite.models.stylegan2 import nvidia as stylegan2_nvidia
from rewrite.models.stylegan2 import rosinality as stylegan2_rosinality
from rewrite.models.stylegan2 import tensorflow as stylegan2_tensorflow
from rewrite.models.stylegan3 import nvidia as stylegan3_nvidia
from rewrite.unfilled import unfilled

Family = tuple[Callable[..., nn.Module], Callable[..., Generator]]

FAMILIES: Mapping[str, Family] = {
    "mobilestylegan": (mobilestylegan.MobileStyleGAN, mobilestylegan.generator),
    "dcgan": (dcgan.DCGAN, dcgan.generator),
    "stylegan2": (stylegan2.StyleGAN2, stylegan2.generator),
    "stylegan3": (stylegan3.StyleGAN3, stylegan3.generator),
    "stylegan": (stylegan.StyleGAN, stylegan.generator),
    "pggan": (pggan.PGGAN, pggan.generator),
    "biggan": (biggan.BigGAN, biggan.generator),
    "sngan": (sngan.SNGAN, sngan.generator),
}
"""For each family, what builds its module from a geometry, and what makes the generator of a module."""

LAYOUTS: Sequence[Explain] = (
    stylegan2_nvidia.explain,
    stylegan2_rosinality.explain,
    stylegan2_rosinality.explain_sequential,
    stylegan2_genforce.explain,
    stylegan2_tensorflow.explain,
    stylegan3_nvidia.explain,
    stylegan.explain,
    pggan.explain,
    pggan.explain_dissection,
    biggan.explain,
    sngan.explain,
    dcgan.explain,
)
"""Whose names are known."""


SMALL = 2**16
"""Numbers in a tensor that is looked at although it is part of no network."""
MALFORMED = (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError)
"""What shapes and attributes raise that no network has."""


def recognise(foreign: Foreign) -> Layout | None:
    """How the file's chosen network is one of ours, or None.

    RewriteError, with the reason, for a network of a known family that cannot be one of ours.
    """
    if foreign.chosen not in foreign.networks:
        return None
    try:
        beside = _beside(foreign)
        found = (explain(foreign.network, beside) for explain in LAYOUTS)
        return next((layout for layout in found if layout is not None), None)
    except MALFORMED as error:
        raise RewriteError(
            f"what the file says of its network cannot be ({type(error).__name__}: {error}); get a fresh copy of it"
        ) from error


def _beside(foreign: Foreign) -> dict[str, Any]:
    """What lies around the chosen network: facts of the file, and small tensors, such as a mean style."""
    around = foreign.networks.get(foreign.chosen.rpartition(".")[0]) if foreign.chosen else None
    small = [name for name, shape in around.shapes.items() if math.prod(shape) <= SMALL] if around else []
    return {**foreign.facts, **{name: around.tensors[name] for name in small if around}}


def build(foreign: Foreign, what: str) -> tuple[nn.Module, Layout]:
    """The network in a file, and its layout; RewriteError, naming `what`, if it is of no known family."""
    layout = recognise(foreign)
    if layout is None:
        names = sorted(foreign.network.shapes)[:3] if foreign.chosen in foreign.networks else []
        held = f"tensors named {', '.join(names)}, ..." if names else "no network"
        raise RewriteError(
            f"{what} holds {held}, of no generator that is known here; expected one of {', '.join(FAMILIES)}, or wrap "
            f"your network with rewrite.Generator.wrap"
        )
    module = empty(layout.family, layout.geometry, what)
    try:
        state = layout.state(foreign.network.tensors)
    except MALFORMED as error:
        raise RewriteError(f"the tensors in {what} do not fit together ({error}); get a fresh copy of it") from error
    for name, tensor in state.items():
        if not finite(tensor):
            raise RewriteError(f"{name} in {what} holds NaN or infinity; the weights are damaged, so fetch them again")
    native.fill(module, state, what)
    return module.eval().requires_grad_(False), layout


def empty(family: str, geometry: Mapping[str, Any], what: str) -> nn.Module:
    """A family's module without its tensors: a geometry that lies about its size costs nothing."""
    if family not in FAMILIES:
        raise RewriteError(
            f"{what} is of family {family!r}, which this version does not know; expected one of "
            f"{', '.join(FAMILIES)}, so update rewrite"
        )
    try:
        with unfilled():
            return FAMILIES[family][0](**geometry)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RewriteError(f"{what} has a geometry that {family} cannot have ({error}); fetch it again") from error
