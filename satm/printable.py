"""Text of other people, made safe to show: names of files, classes and sets may hold what controls a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import combining, east_asian_width

from satm.errors import ConfigError

LONGEST = 200  # characters of a name


def printable(text: str) -> str:
    r"""`text` on one line: what cannot be seen is written as Python escapes it, so ESC is `\x1b`, a new line `\n`.

    These are control characters, marks that turn the direction of text, and the stand-ins of bytes that are not UTF-8
    in the names of files.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def printable_lines(text: str) -> str:
    """`printable`, but lines stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def width(text: str) -> int:
    """The columns that a terminal needs for `text`."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(each) in "WF" else 1 for each in text if not combining(each))


def check_names(kind: str, names: Iterable[str]) -> None:
    """Raise ConfigError for a name that is empty or too long, or that holds what cannot be seen."""
    for name in names:
        shown = f"{kind} '{printable(name[:LONGEST])}'"
        if not name.strip() or len(name) > LONGEST:
            raise ConfigError(f"{shown} has {len(name)} characters: expected a name of 1 to {LONGEST}; rename it")
        if not name.isprintable():
            raise ConfigError(f"{shown} holds characters that cannot be seen; rename it")
