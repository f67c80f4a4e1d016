"""Prints rows: as a table, or in the format that the user chose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.metrics import METRICS
from registry import SummaryRow
from satm.cli._options import Format
from satm.errors import PluginError, UnknownName
from satm.report.tables import render, shown
from satm.statistics import half_width

# Metrics of the two accuracy matrices: one for each step that is tested.
PER_STEP = ("accuracy_on_step_", "masked_accuracy_on_step_")


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: Format) -> None:
    """Rows on stdout in the format `form`."""
    if form is Format.TABLE:
        print_table(columns, rows)
    else:
        typer.echo(render(columns, rows, form.value))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on stdout. If stdout is no terminal, the table is as wide as its content."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=1000)
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    console.print(table)


def print_stored(registry: Path, name: str, **filters: Any) -> None:
    """The stored results of set `name`, without the accuracy matrix; filters as `satm.results` takes them."""
    import satm

    rows = satm.results(registry=registry, set=name, **filters)
    print_results([row for row in rows if not row.metric.startswith(PER_STEP)], Format.TABLE)


def print_results(rows: Sequence[SummaryRow], form: Format) -> None:
    """Summary rows with mean, standard deviation, interval and n. CSV and JSON hold plain numbers."""
    print_rows(*results_table(rows, raw=form in (Format.CSV, Format.JSON)), form)


def results_table(rows: Sequence[SummaryRow], *, raw: bool = False) -> tuple[list[str], list[list[Any]]]:
    """Columns and cells of summary rows: fractions if `raw`, else percent, "45.1 ± 0.6 %".

    The interval is the 95% t-interval of the mean. A single value has none.
    """
    about = ["set", "profile", "protocol", "architecture", "memory", "recipe", "step", "metric"]
    columns = [*about, *(["mean", "std", "low", "high"] if raw else ["mean ± std", "95% interval"]), "n"]
    cells: list[list[Any]] = []
    for row in rows:
        step = "" if row.steps == 1 else f"{row.step}/{row.steps}"
        half = half_width(row.std, row.n)
        ends = None if row.n < 2 else (row.mean - half, row.mean + half)
        if raw:
            values = [row.mean, row.std, *(ends or (None, None))]
        elif _is_fraction(row):
            spelt = "" if ends is None else f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
            values = [f"{100 * row.mean:.1f} ± {100 * row.std:.1f} %", spelt]
        else:
            spelt = "" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]"
            values = [f"{row.mean:.3f} ± {row.std:.3f} {_unit(row)}".rstrip(), spelt]
        memory = row.memory if raw else shown_memory(row.protocol, row.memory)
        names = [row.set_name, row.profile, row.protocol, row.architecture, memory, row.recipe, step, row.metric]
        cells.append([*names, *values, row.n])
    return columns, cells


def shown_memory(protocol: str, memory: str) -> str:
    """The memory as tables show it. A set that was condensed at once is marked `whole` in streams."""
    kind, _, notes = memory.removesuffix("]").partition("[")
    if kind != "condensed" or "per-step" in notes or not protocol.startswith("class-incremental"):
        return memory
    return f"condensed[{','.join(filter(None, ('whole', notes)))}]"


def _is_fraction(row: SummaryRow) -> bool:
    """Whether a number is shown in percent. Those of class-incremental streams all are fractions."""
    return _unit(row) == "fraction" or row.protocol.startswith("class-incremental")


def _unit(row: SummaryRow) -> str:
    """The unit of the row's metric; "" if no installed package has the metric, or if that package cannot be loaded."""
    try:
        return METRICS.get(row.metric).unit
    except (UnknownName, PluginError):
        return ""
