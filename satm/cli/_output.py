"""Prints the output of all commands safely.

Control characters in names are shown as escapes, so that they do not reach the terminal. A character that the encoding
of the output lacks does not stop the command.
"""

from __future__ import annotations

import io
import os
import sys

from satm.printable import printable, printable_lines
from satm.progress import NoProgress


def say(text: object = "", *, err: bool = False) -> None:
    """Print `text` as one line on stdout, or on stderr if `err` is True. Invisible characters are shown as escapes."""
    print(printable(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def say_lines(text: str) -> None:
    """Print a text of several lines, such as a table or JSON, on stdout.

    Invisible characters are shown as escapes, except line breaks. So if a name in the text may contain a line break,
    the caller must escape it first.
    """
    print(printable_lines(text), flush=True)


class Spoken(NoProgress):
    """The progress of a quick command. It draws no bars, and prints its messages on stderr."""

    def say(self, message: str) -> None:
        """Print one line on stderr."""
        say(message, err=True)


def accept_every_letter() -> None:
    r"""Let stdout and stderr write an escape for a character that their encoding lacks: `\u03b1` for α in ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flushed() -> str | None:
    """Write the buffered output to stdout. Returns the reason if this fails, else None.

    If it fails, stdout is redirected to the null device. Without this, Python would try to write again when it ends,
    and print a traceback.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        give_up()
        return error.strerror
    return None


def give_up() -> None:
    """Redirect stdout to the null device, so that all further output is lost."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
