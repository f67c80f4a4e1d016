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
    """Run one command line and return the exit code.

    The exit code is 0 if the command succeeded, 1 if it failed (a message says why), 2 for wrong usage, and 130 if it
    was interrupted.
    """
    accept_every_letter()
    try:
        guard()
        if list(arguments) in ([], ["--help"]):
            say_lines(overview())
            code = 0 if arguments else 2
        else:
            # This import loads typer, which is slow. The overview above does not need it.
            from satm.cli._app import app

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
    """Print `message` as one line on stderr and return the exit code `code`."""
    flushed()
    with contextlib.suppress(OSError):  # writing to stderr may fail too, for example on a full disk
        say(" ".join(message.split()), err=True)
    return code


def main() -> None:
    """Run the command line of this process. The console script `satm` calls this function."""
    sys.exit(run(sys.argv[1:]))
