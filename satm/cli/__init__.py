"""The `satm` command: a thin shell over `satm.workflow`, and the only place that prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from satm.cli import architectures, condense, doctor, evaluate, exchange, incremental, plan, registry
from satm.errors import Interrupted, SatmError

app = typer.Typer(
    name="satm",
    help="Condense image data sets, keep the results by version, and measure them where they were not made.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (condense, plan, evaluate, architectures, incremental, registry, exchange, doctor):
    group.register(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code: 0 done, 1 failed as the message says, 2 wrong usage, 130 interrupted."""
    try:
        doctor.guard()
        app(args=list(arguments), prog_name="satm")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except SatmError as error:
        typer.echo(str(error) if isinstance(error, Interrupted) else f"error: {error}", err=True)
        return error.exit_code
    return 0


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
