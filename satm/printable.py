"""Makes foreign text safe to show: names of files, classes and sets may hold characters that control a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import combining, east_asian_width

from satm.errors import ConfigError

LONGEST = 200  # the largest number of characters in a name


def printable(text: str) -> str:
    r"""`text` on one line. Characters that cannot be seen become Python escapes: ESC becomes `\x1b`, a new line `\n`.

    Such characters are control characters, marks that change the direction of text, and the surrogate characters that
    Python uses for bytes that are not UTF-8 in the names of files.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def printable_lines(text: str) -> str:
    """The same as `printable`, except that the line breaks of `text` are kept."""
    return "\n".join(map(printable, text.split("\n")))


def width(text: str) -> int:
    """The number of columns that `text` takes in a terminal: 2 for a wide character, 0 for a combining mark."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(each) in "WF" else 1 for each in text if not combining(each))


def check_names(kind: str, names: Iterable[str]) -> None:
    """Raise ConfigError for a name that is empty, is too long or holds characters that cannot be seen.

    `kind` says in the message what the names belong to: "class" or "data set".
    """
    for name in names:
        shown = f"{kind} '{printable(name[:LONGEST])}'"
        if not name.strip() or len(name) > LONGEST:
            raise ConfigError(f"{shown} has {len(name)} characters: expected a name of 1 to {LONGEST}; rename it")
        if not name.isprintable():
            raise ConfigError(f"{shown} holds characters that cannot be seen; rename it")
