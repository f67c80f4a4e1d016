"""Rows as text: CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Protocol

from satm.errors import ConfigError


class Summary(Protocol):
    """What a row of results must have; `registry.SummaryRow` does."""

    @property
    def set_name(self) -> str: ...
    @property
    def profile(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def memory(self) -> str: ...
    @property
    def recipe(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def metric(self) -> str: ...
    @property
    def mean(self) -> float: ...
    @property
    def std(self) -> float: ...
    @property
    def n(self) -> int: ...


def results_table(rows: Sequence[Summary], *, raw: bool = False) -> tuple[list[str], list[list[Any]]]:
    """Columns and cells of summary rows; fractions and numbers when `raw`, percent "45.1 ± 0.6" otherwise."""
    about = ["set", "profile", "protocol", "architecture", "memory", "recipe", "step", "metric"]
    columns = [*about, *(["mean", "std"] if raw else ["mean ± std (%)"]), "n"]
    cells: list[list[Any]] = []
    for row in rows:
        step = "" if row.steps == 1 else f"{row.step}/{row.steps}"
        values = [row.mean, row.std] if raw else [f"{100 * row.mean:.1f} ± {100 * row.std:.1f}"]
        names = [row.set_name, row.profile, row.protocol, row.architecture, row.memory, row.recipe, step, row.metric]
        cells.append([*names, *values, row.n])
    return columns, cells


def render(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: str) -> str:
    """The rows as `csv`, `json` (a list of objects) or `markdown`; raises ConfigError for another form."""
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        return text.getvalue().rstrip("\n")
    if form == "json":
        return json.dumps(
            [dict(zip(columns, map(_plain, row), strict=True)) for row in rows], indent=2, ensure_ascii=False
        )
    if form == "markdown":
        lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    raise ConfigError(f"format '{form}': expected csv, json or markdown")


def _plain(value: Any) -> Any:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value


def _cell(value: Any) -> str:
    return "" if value is None else str(_plain(value)).replace("|", "\\|").replace("\n", " ")
