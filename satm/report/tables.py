"""Rows as text: CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from satm.errors import ConfigError


def render(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: str) -> str:
    """The rows as `csv`, `json` (a list of objects) or `markdown`. Raises ConfigError for another form."""
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([shown(value) for value in row] for row in rows)
        return text.getvalue().rstrip("\n")
    if form == "json":
        return json.dumps(
            [dict(zip(columns, map(_plain, row), strict=True)) for row in rows], indent=2, ensure_ascii=False
        )
    if form == "markdown":
        lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    raise ConfigError(f"format '{form}': expected csv, json or markdown")


def shown(value: Any) -> str:
    """A cell as text: "" for None, and the size of a blob instead of its bytes."""
    return "" if value is None else str(_plain(value))


def _plain(value: Any) -> Any:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value


def _cell(value: Any) -> str:
    return shown(value).replace("|", "\\|").replace("\n", " ")
