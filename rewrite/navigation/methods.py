"""The methods by name. Each takes a generator and options, and finds directions: edits of strength 1, best first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from rewrite.concepts import Segmenter
from rewrite.errors import RewriteError, nearest
from rewrite.generator import Generator, Noise
from rewrite.navigation.direction import Found
from rewrite.navigation.where import Where, concept
from rewrite.progress import Progress, quiet


@dataclass(frozen=True)
class Options:
    """What a method is asked. Each reads what it needs; `more` holds what only one of them knows, by name."""

    layers: tuple[str, ...] = ()
    """Names of layers; methods of parameter space take one."""
    count: int = 16
    latents: int = 64
    """How many latents a method looks at: seeds from 0 up."""
    net: str = "pd-lite0"
    """What change is measured by: `pixels`, or a perceptual distance by its name."""
    size: int | None = None
    """Side in px that images are downsized to before they are looked at; None: the least of theirs and 256."""
    ansatz: int | None = None
    """Rank of the subspace that a kernel's change is sought in; None is the full kernel."""
    truncation: float = 1.0
    noise: Noise = "const"
    region: Where | None = None
    """Where change counts; None is everywhere."""
    segmenter: Segmenter | None = None
    concept: str | None = None
    """A class of the segmenter."""
    more: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = quiet


def number(options: Options, name: str, default: float) -> float:
    """An option that only one method knows; RewriteError where it is no finite number above 0."""
    found = options.more.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise RewriteError(f"{name} is {found!r}; expected a number above 0")
    return found


def whole(options: Options, name: str, default: int) -> int:
    """The same of a whole number, from 1 up."""
    found = options.more.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise RewriteError(f"{name} is {found!r}; expected a whole number from 1 up")
    return found


def only(options: Options, *known: str) -> None:
    """RewriteError, naming the nearest, for an option in `more` that is none of these."""
    for name in options.more:
        if name not in known:
            raise RewriteError(f"the method knows no option {name!r}; nearest: {nearest(name, known) or 'none'}")


def placed(options: Options) -> Where | None:
    """The region that is asked for, or the pixels of the concept; None where neither is."""
    if options.region is not None or options.segmenter is None or options.concept is None:
        return options.region
    return concept(options.segmenter, options.concept)


Method = Callable[[Generator, Options], list[Found]]
METHODS: dict[str, str] = {
    "spectrum": "rewrite.navigation.spectrum:spectrum",
    "hessian": "rewrite.navigation.hessian:hessian",
    "learned": "rewrite.navigation.learned:learned",
    "concept": "rewrite.navigation.concept:concept",
    "sefa": "rewrite.navigation.latent.methods:sefa",
    "ganspace": "rewrite.navigation.latent.methods:ganspace",
    "interfacegan": "rewrite.navigation.latent.methods:interfacegan",
    "higan": "rewrite.navigation.latent.methods:higan",
    "stylespace": "rewrite.navigation.latent.methods:stylespace",
    "steerability": "rewrite.navigation.latent.methods:steerability",
    "first-layer": "rewrite.navigation.latent.methods:first_layer",
    "lowrankgan": "rewrite.navigation.latent.methods:lowrankgan",
    "resefa": "rewrite.navigation.latent.methods:resefa",
    "continuous": "rewrite.navigation.latent.methods:continuous",
    "warpedganspace": "rewrite.navigation.latent.methods:warpedganspace",
    "styleflow": "rewrite.navigation.latent.methods:styleflow",
    "ganalyze": "rewrite.navigation.latent.methods:ganalyze",
}
"""Name to `module:function`, imported when first asked for."""
PLACELESS = frozenset({"spectrum", "sefa", "ganspace", "steerability", "first-layer", "continuous"})
"""Those that look at no place on images."""


def method(name: str) -> Method:
    """The method of that name; RewriteError, naming the nearest, if there is none."""
    if name not in METHODS:
        raise RewriteError(f"there is no method {name!r}; nearest: {nearest(name, METHODS)}")
    module, _, function = METHODS[name].partition(":")
    found: Method = getattr(import_module(module), function)
    return found
