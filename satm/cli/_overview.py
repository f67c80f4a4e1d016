"""`satm --help` without typer and rich, whose loading takes longer than everything else it does.

It is what they would print, and a test compares both. If the terminal or a setting is out of the ordinary, they do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from textwrap import wrap

from satm.cli._commands import ABOUT, COMMANDS

UNUSUAL = (
    *("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("JUPYTER_COLUMNS", "DATABRICKS_RUNTIME_VERSION", "TYPER_USE_RICH", "_TYPER_FORCE_DISABLE_TERMINAL"),
)
NARROWEST = 60  # columns; in narrower ones rich cuts words
NAMES = max(map(len, COMMANDS))
BOLD, DIM, NAME, LABEL = "1", "2", "1;36", "1;33"  # colours of a terminal


def overview() -> str | None:
    """The text of `satm --help` for this terminal; None if only typer knows how it looks here."""
    width, coloured = _columns(), sys.stdout.isatty()
    plain = not any(name in os.environ for name in UNUSUAL) and str(sys.stdout.encoding).lower().startswith("utf")
    dumb = coloured and os.environ.get("TERM", "").strip().lower() in ("", "dumb", "unknown")
    return None if width < NARROWEST or not plain or dumb or os.name == "nt" else drawn(width, coloured=coloured)


def _columns() -> int:
    """The columns as rich counts them: COLUMNS, else those of the terminal that a stream leads to, else 80."""
    if os.environ.get("COLUMNS", "").isdigit():
        return int(os.environ["COLUMNS"])
    for stream in range(3):
        try:
            return os.get_terminal_size(stream).columns or 80
        except OSError:  # no terminal
            continue
    return 80


def drawn(width: int, *, coloured: bool) -> str:
    """The text in so many columns. Ends with an empty line."""

    def styled(text: str, style: str) -> str:
        return f"\033[{style}m{text}\033[0m" if coloured else text

    def panel(title: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
        side = styled("│", DIM)
        yield styled(f"╭─ {title} {'─' * (width - len(title) - 5)}╮", DIM)
        for name, kind, text in rows:
            left = f"{styled(name.ljust(NAMES), NAME)} {styled(kind, LABEL) if kind else ''}"
            blank = " " * (NAMES + 1 + len(kind))
            room = width - len(blank) - len(" ") - 2 * len("│ ") - bool(kind)
            for line in wrap(text, room, break_on_hyphens=False):
                yield f"{side} {left} {' ' if kind else ''}{line.ljust(room)} {side}"
                left = blank
        yield styled(f"╰{'─' * (width - 2)}╯", DIM)

    usage, empty = "satm [OPTIONS] COMMAND [ARGS]...", " " * width
    lines = [empty, f" {styled('Usage: ', LABEL)}{styled(usage.ljust(width - 8), BOLD)}", empty]
    lines += [f" {line}".ljust(width) for line in wrap(ABOUT, width - 2, break_on_hyphens=False)]
    lines += [empty, *panel("Options", [("--help", "<bool>", "Show this message and exit.")])]
    for title in dict.fromkeys(each.panel for each in COMMANDS.values()):
        rows = [(name, "", each.help) for name, each in COMMANDS.items() if each.panel == title]
        lines += panel(title, rows)
    return "\n".join([*lines, ""])
