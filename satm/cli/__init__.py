"""The `satm` command: a thin layer over `satm.workflow`, and the only package that prints."""

from __future__ import annotations

import contextlib
import os
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
    report,
    results,
    runs,
    upkeep,
)
from satm.cli._output import accept_every_letter, flushed, say
from satm.errors import Interrupted, SatmError

TRACEBACK = "SATM_TRACEBACK"  # set: an error that nobody expected shows where it was raised

app = typer.Typer(
    name="satm",
    help="Condense image data sets, store every version of the results, and measure them out of domain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
GROUPS = (
    *(condense, plan, evaluate, architectures, incremental, compare),
    *(results, report, registry, exchange, origins, runs, upkeep, lists, doctor),
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
    except OSError as error:  # of a file that no part of the library expects
        return _failed(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}")
    except Exception as error:
        if _out_of_memory(error):
            return _failed(_no_room(error))
        if os.environ.get(TRACEBACK):
            raise
        where = f"set {TRACEBACK}=1 to see where, and report it"
        return _failed(f"error: {type(error).__name__}: {error}; this is a fault of satm: {where}")
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


def _no_room(error: Exception) -> str:
    said = str(error).split(". Error code")[0].split("you tried to ")[-1].splitlines()
    return (
        f"error: out of memory ({said[0] if said else 'not even for a small request'}); give a smaller image_size, "
        "batch or network, or another --device"
    )


def _out_of_memory(error: Exception) -> bool:
    """Whether Python, or torch on any device, found no memory. torch has a class of error for CUDA only."""
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(each in str(error) for each in words)


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
