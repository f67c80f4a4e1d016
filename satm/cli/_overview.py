"""Writes the text of `satm --help` without typer, because loading typer takes longer than the rest of it."""

from __future__ import annotations

from collections.abc import Iterator
from shutil import get_terminal_size
from textwrap import wrap

from satm.cli._commands import ABOUT, COMMANDS

NARROWEST, WIDEST = 60, 100  # the smallest and the largest width of the text, in characters


def overview() -> str:
    """Return the list of all commands with their help, wrapped to the width of the terminal."""
    width = min(max(get_terminal_size().columns, NARROWEST), WIDEST)
    return "\n".join(_lines(width))


def _lines(width: int) -> Iterator[str]:
    left = max(map(len, COMMANDS)) + 4
    yield from ("Usage: satm COMMAND [OPTIONS]", "", *wrap(ABOUT, width))
    for panel in dict.fromkeys(each.panel for each in COMMANDS.values()):
        yield from ("", f"{panel}:")
        for name, entry in COMMANDS.items():
            if entry.panel == panel:
                first, *more = wrap(entry.help, width - left, break_on_hyphens=False)
                yield f"  {name}".ljust(left) + first
                yield from (" " * left + line for line in more)
    yield from ("", "satm COMMAND --help says more of a command.")
