"""The `satm` command: a thin layer over `satm.workflow`, and the only package that prints."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import typer

from satm.cli import (
    architectures,
    cite,
    compare,
    condense,
    doctor,
    evaluate,
    exchange,
    incremental,
    lists,
    origins,
    plan,
    registry,
    report,
    reproduce,
    results,
    runs,
    serve,
    tune,
    upkeep,
)
from satm.cli._output import accept_every_letter, flushed, say
from satm.errors import TRACEBACK, Interrupted, SatmError, explained, spelled

app = typer.Typer(
    name="satm",
    help="Condense image data sets, store every version of the results, and measure them out of domain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
GROUPS = (
    *(condense, plan, tune, evaluate, architectures, incremental, compare, reproduce),
    *(results, report, serve, registry, exchange, origins, cite, runs, upkeep, lists, doctor),
)
for group in GROUPS:
    group.register(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line. The exit code: 0 done, 1 failed (the message says why), 2 wrong usage, 130 interrupted."""
    accept_every_letter()
    try:
        doctor.guard()
        app(args=list(arguments), prog_name="satm")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except SatmError as error:
        return _failed(str(error) if isinstance(error, Interrupted) else f"error: {error}", error.exit_code)
    except Exception as error:
        if os.environ.get(TRACEBACK) and explained(error) is None:
            raise
        return _failed(f"error: {spelled(error)}")
    else:
        code = 0
    problem = flushed()
    return code if problem is None else _failed(f"error: the output cannot be written: {problem}")


def _failed(message: str, code: int = 1) -> int:
    """Print `message` as one line on stderr; the exit code."""
    flushed()
    with contextlib.suppress(OSError):  # stderr may be full too
        say(" ".join(message.split()), err=True)
    return code


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
