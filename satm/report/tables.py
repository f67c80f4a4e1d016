"""Rows as text: CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from satm.errors import ConfigError


def render(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: str) -> str:
    """The rows as `csv`, `json` (a list of objects) or `markdown`. Raises ConfigError for another form."""
    return "\n".join(render_parts(columns, rows, form))


def render_parts(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> Iterator[str]:
    """What `render` returns, in parts between line breaks, one for each row: for more rows than fit in memory."""
    if form == "csv":
        yield _csv_line(columns)
        for row in rows:
            yield _csv_line([shown(value) for value in row])
    elif form == "json":
        yield from _json_parts(columns, rows)
    elif form == "markdown":
        for line in (columns, ["---"] * len(columns)):
            yield "| " + " | ".join(line) + " |"
        for row in rows:
            yield "| " + " | ".join(_cell(value) for value in row) + " |"
    else:
        raise ConfigError(f"format '{form}': expected csv, json or markdown")


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _json_parts(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    before = None  # a row is written when it is known whether a comma follows
    for row in rows:
        cells = dict(zip(columns, map(_plain, row), strict=True))
        yield "[" if before is None else f"{before},"
        before = textwrap.indent(json.dumps(cells, indent=2, ensure_ascii=False), "  ")
    yield "[]" if before is None else f"{before}\n]"


def shown(value: Any) -> str:
    """A cell as text: "" for None, and the size of a blob instead of its bytes."""
    return "" if value is None else str(_plain(value))


def _plain(value: Any) -> Any:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value


def _cell(value: Any) -> str:
    return shown(value).replace("|", "\\|").replace("\n", " ")
