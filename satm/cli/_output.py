"""What the commands print goes through here: no name can control a terminal, and no letter can stop a command."""

from __future__ import annotations

import io
import os
import sys

from satm.printable import printable, printable_lines
from satm.progress import NoProgress


def say(text: object = "", *, err: bool = False) -> None:
    """Print `text` as one line on stdout or stderr. Characters that cannot be seen are shown as escapes."""
    print(printable(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def say_lines(text: str) -> None:
    """Print a text of several lines, such as a table or JSON, on stdout. Its names are escaped already."""
    print(printable_lines(text), flush=True)


class Spoken(NoProgress):
    """The progress of a command that is quick: what it says is a line on stderr."""

    def say(self, message: str) -> None:
        """One line on stderr."""
        say(message, err=True)


def accept_every_letter() -> None:
    r"""Let stdout and stderr show a letter that their encoding lacks as its escape: α is `\u03b1` in ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flushed() -> str | None:
    """Write what waits for stdout; what went wrong, or None.

    After an error stdout leads nowhere, so that Python does not try it again at its end and print a traceback.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        give_up()
        return error.strerror
    return None


def give_up() -> None:
    """Lead stdout nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
