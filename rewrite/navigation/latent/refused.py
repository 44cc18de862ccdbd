"""Walks that are no edit: their step hangs on the code, so no change of weights of these layers is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from rewrite.errors import RewriteError
from rewrite.generator import Generator
from rewrite.navigation.methods import Options

REASONS = {
    "warpedganspace": "each step follows the gradient of radial functions at the code itself, and the path is many "
    "such steps (Tzelepis et al. 2021)",
    "styleflow": "the code goes through a differential equation and back, under conditions of its own image (Abdal et "
    "al. 2021)",
    "ganalyze": "after the step the code is brought back to its length, so the step hangs on the code (Goetschalckx et "
    "al. 2019); without that it is a shift",
}


def refused(name: str) -> Callable[[Generator, Options], NoReturn]:
    """A method that says why it yields no edit."""

    def method(generator: Generator, options: Options) -> NoReturn:  # noqa: ARG001
        raise RewriteError(
            f"{name} does not fold into weights: {REASONS[name]}; give the walk as a callable to "
            f"rewrite.navigation.latent.surrogate, which fits an affine move and measures what it misses"
        )

    return method


warpedganspace, styleflow, ganalyze = (refused(name) for name in REASONS)
