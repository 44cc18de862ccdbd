"""The list of verbs, and the way in."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version as installed
from typing import Annotated

import typer
from typer.main import get_command

from rewrite.cli import failure, signals
from rewrite.cli.apply import apply
from rewrite.cli.audit import audit
from rewrite.cli.card import card
from rewrite.cli.check import check
from rewrite.cli.compose import compose
from rewrite.cli.conflict import conflict
from rewrite.cli.demo import demo
from rewrite.cli.diff import diff
from rewrite.cli.export import export
from rewrite.cli.import_ import import_
from rewrite.cli.inspect import inspect
from rewrite.cli.library import library
from rewrite.cli.models import models
from rewrite.cli.navigate import navigate
from rewrite.cli.pull import pull
from rewrite.cli.rule import rule
from rewrite.cli.sample import sample
from rewrite.cli.show import show
from rewrite.cli.units import units
from rewrite.cli.verb import spoken

app = typer.Typer(
    name="rewrite",
    help="Edit the weights of image generators: rewrite a rule, keep it as a small file, undo it to the bit.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    models, pull, inspect, sample, rule, navigate, audit, show, compose, conflict, apply, check, diff, export, import_,
    card, demo,
):  # fmt: skip
    app.command(verb.__name__.rstrip("_"))(spoken(verb))
app.add_typer(library)
app.add_typer(units)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"rewrite {installed('rewrite')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command on these arguments (the process's own if None) and return its exit code."""
    try:
        code = get_command(app).main(None if argv is None else list(argv), prog_name="rewrite", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        signals.deaf()
        return failure.report(error, debug=failure.wants_traceback())
    return code if isinstance(code, int) else failure.SUCCESS
