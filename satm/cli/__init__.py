"""The `satm` command: a thin layer over `satm.workflow`, and the only package that prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from satm.cli import (
    architectures,
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
    runs,
    upkeep,
)
from satm.errors import Interrupted, SatmError

app = typer.Typer(
    name="satm",
    help="Condense image data sets, store every version of the results, and measure them out of domain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
GROUPS = (
    *(condense, plan, evaluate, architectures, incremental, compare),
    *(registry, exchange, origins, runs, upkeep, lists, doctor),
)
for group in GROUPS:
    group.register(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line. The exit code: 0 done, 1 failed (the message says why), 2 wrong usage, 130 interrupted."""
    try:
        doctor.guard()
        app(args=list(arguments), prog_name="satm")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except SatmError as error:
        typer.echo(str(error) if isinstance(error, Interrupted) else f"error: {error}", err=True)
        return error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        said = str(error).split(". Error code")[0].split("you tried to ")[-1].splitlines()
        typer.echo(
            f"error: out of memory ({said[0] if said else 'not even for a small request'}); give a smaller image_size, "
            "batch or network, or another --device",
            err=True,
        )
        return 1
    return 0


def _out_of_memory(error: Exception) -> bool:
    """Whether Python, or torch on any device, found no memory. torch has a class of error for CUDA only."""
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(each in str(error) for each in words)


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
