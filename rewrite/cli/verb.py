"""What all verbs have in common: the options --json, --quiet and --debug, and one way of failing."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from rewrite.cli import failure, signals
from rewrite.cli.voice import Voice


def spoken(verb: Callable[..., None]) -> Callable[..., None]:
    """The command of a verb: its parameters, but for the first (its Voice), and the common options."""

    def run(*, json: bool, quiet: bool, debug: bool, **given: Any) -> None:
        voice = Voice(json=json, quiet=quiet)
        import torch  # noqa: F401

        try:
            signals.unwinding()
            with warnings.catch_warnings(record=True) as raised:
                verb(voice, **given)
            # Only now: where a verb fails, the error is the one sentence that counts.
            for warning in raised:
                if debug or warning.category.__module__ == "edits.errors":
                    voice.warn(str(warning.message))
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            signals.deaf()
            raise typer.Exit(failure.report(error, debug=debug or failure.wants_traceback())) from None

    own = list(inspect.signature(verb, eval_str=True).parameters.values())[1:]
    common = inspect.signature(_common, eval_str=True).parameters.values()
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *common)]
    run.__name__, run.__doc__ = verb.__name__, verb.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _common(
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else, on stdout.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (or REWRITE_DEBUG=1).")
    ] = False,
) -> None: ...
