"""Rows as text: aligned tables, CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from satm.errors import ConfigError
from satm.printable import printable, width


def render(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: str) -> str:
    """The rows in the format `form`: `table` (aligned columns), `csv`, `json` (a list of objects) or `markdown`.

    Characters that cannot be seen are escaped. In CSV a text that a spreadsheet would read as a formula gets an
    apostrophe in front. Raises ConfigError for any other `form`.
    """
    if form == "table":
        return _aligned([columns, *rows])
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(_no_formula, columns))
        writer.writerows(map(_no_formula, row) for row in rows)
        return text.getvalue().rstrip("\n")
    if form == "json":
        return to_json([dict(zip(columns, map(_plain, row), strict=True)) for row in rows])
    if form == "markdown":
        lines = [columns, ["---"] * len(columns), *rows]
        return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
    raise ConfigError(f"format '{form}': expected table, csv, json or markdown")


def to_json(value: Any) -> str:
    """`value` as indented JSON. Characters that cannot be seen become `\\u` escapes, which are read back unchanged.

    JSON has no infinity and no NaN, so they become null.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=2, ensure_ascii=False)
    return text if text.replace("\n", "").isprintable() else _UNSEEN.sub(_escaped, text)


def shown(value: Any) -> str:
    """The value of a cell as text on one line. None becomes "", and a `bytes` object becomes such as "<12 bytes>"."""
    return "" if value is None else printable(str(_plain(value)))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_UNSEEN = re.compile(r"[^\n -~]")


def _escaped(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def _plain(value: Any) -> Any:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value


def _cell(value: Any) -> str:
    return shown(value).replace("|", "\\|")


def _no_formula(value: Any) -> str:
    """The value of a cell as text for CSV, with an apostrophe before a text that a spreadsheet would run as a formula.

    Spreadsheets do so if a text begins with =, +, - or @. Numbers can begin with + or -, and stay as they are.
    """
    text = shown(value)
    if isinstance(value, str) and text.startswith(("=", "+", "-", "@")) and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _aligned(lines: Sequence[Sequence[Any]]) -> str:
    """The lines with aligned columns: each is as wide as its widest cell, and two spaces separate them."""
    cells = [[shown(value) for value in line] for line in lines]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
