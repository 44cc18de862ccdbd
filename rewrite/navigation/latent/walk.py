"""A direction of latent space as a method finds it: moves of codes, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from edits.canonical import Json
from rewrite.errors import RewriteError, nearest
from rewrite.generator import Generator
from rewrite.navigation.direction import Found
from rewrite.navigation.latent.fold import Moves, error, everywhere, fold
from rewrite.navigation.latent.moves import Move, set_along, shift
from rewrite.navigation.latent.sites import Site
from rewrite.navigation.methods import Options
from rewrite.progress import Progress, quiet

Form = Literal["shift", "projective"]
"""By a step along the direction, or to a place on it."""
BATCH = 16


@dataclass(frozen=True)
class Walk:
    """At strength a every code is moved by `moves` at a; `facts` are measured."""

    name: str
    moves: Moves
    facts: Mapping[str, Json] = field(default_factory=dict)


def found(generator: Generator, walks: Iterable[Walk]) -> list[Found]:
    """Walks as edits; RewriteError, with the reason, for one that does not fold.

    What each misses is measured on a few codes, and kept in its facts as `fold_error` (see `fold.error`).
    """
    made, few = [], codes(generator, BATCH)
    for walk in walks:
        edit = fold(generator, walk.moves, notes={"direction": dict(walk.facts)})
        missed = short(error(generator, edit, walk.moves, few))
        made.append(Found(edit, walk.name, {**walk.facts, "fold_error": missed}))
    return made


def folded(walks: Callable[[Generator, Options], list[Walk]]) -> Callable[[Generator, Options], list[Found]]:
    """A method that yields edits, of one that yields walks."""

    def method(generator: Generator, options: Options) -> list[Found]:
        return found(generator, walks(generator, options))

    method.__doc__ = walks.__doc__
    return method


def asked(options: Options, **known: Any) -> dict[str, Any]:
    """`options.more` over these defaults; RewriteError, naming the nearest, for a name that is none of them,
    and for a value of another kind.
    """
    for name in options.more:
        if name not in known:
            raise RewriteError(f"the method knows no option {name!r}; nearest: {nearest(name, known)}")
        if not _alike(options.more[name], known[name]):
            raise RewriteError(f"{name} is {options.more[name]!r}; expected something like {known[name]!r}")
    return {**known, **options.more}


def _alike(value: Any, default: Any) -> bool:
    """Whether the value is of the default's kind, or one of the two says nothing."""
    if value is None or default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    kinds = {int: int, float: int | float, str: str, tuple: list | tuple}
    return isinstance(value, kinds[type(default)])


def along(found: Iterable[Site], direction: Tensor, form: Form, *, size: float = 1.0, target: float = 0.0) -> Moves:
    """A step of `size` along the direction, or its component (along the unit vector) set to `target`, at all sites."""
    if form not in get_args(Form):
        raise RewriteError(f"there is no form {form!r} of a direction; expected {' or '.join(get_args(Form))}")
    unit = torch.nn.functional.normalize(direction.detach().cpu().double(), dim=0)
    move: Move = shift(unit * size) if form == "shift" else set_along(unit, target)
    return everywhere(found, move)


def signed(direction: Tensor) -> Tensor:
    """The direction or its opposite: the one whose largest entry is positive."""
    return direction * direction[direction.abs().argmax()].sign()


def codes(generator: Generator, samples: int, *, start: int = 0, progress: Progress = quiet) -> Tensor:
    """Codes (samples, d) float64 of the seeds from `start` on, before truncation: w, or z where that is what is read.

    RewriteError for a conditional generator, whose codes hang on the label too.
    """
    if generator.classes:
        raise RewriteError(f"{generator.name or generator.architecture} is conditional; hold it at a label")
    drawn, step = [], 1024
    with torch.no_grad():
        for first in range(start, start + samples, step):
            ws = generator.styles(generator.latents(range(first, min(first + step, start + samples))))
            drawn.append((ws if ws.ndim == 2 else ws[:, 0]).cpu().double())
            progress("drawing codes", min(first + step, start + samples) - start, samples)
    return torch.cat(drawn)


def paints(generator: Generator, site: Site) -> bool:
    """Whether the site is the style of a layer that makes the image, with no activation behind it."""
    layer = generator.layers.get(site.name.rpartition(".")[0])
    return layer is not None and "activation" not in layer.follows


def short(value: Any) -> float:
    """A figure for people: six digits."""
    return float(f"{float(value):.6g}")
