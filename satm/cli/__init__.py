"""The `satm` command: a thin layer over `satm.workflow`, and the only package that prints."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from satm.cli._guard import guard
from satm.cli._output import accept_every_letter, flushed, say, say_lines
from satm.cli._overview import overview
from satm.errors import TRACEBACK, Interrupted, SatmError, explained, spelled


def run(arguments: Sequence[str]) -> int:
    """Run one command line. The exit code: 0 done, 1 failed (the message says why), 2 wrong usage, 130 interrupted."""
    accept_every_letter()
    try:
        guard()
        if list(arguments) in ([], ["--help"]):
            say_lines(overview())
            code = 0 if arguments else 2
        else:
            from satm.cli._app import app  # with typer, which the overview does not need

            app(args=list(arguments), prog_name="satm")
            code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except SatmError as error:
        return _failed(str(error) if isinstance(error, Interrupted) else f"error: {error}", error.exit_code)
    except Exception as error:
        if os.environ.get(TRACEBACK) and explained(error) is None:
            raise
        return _failed(f"error: {spelled(error)}")
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
