"""Prints rows: as a table, or in the format that the user chose."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from evaluation.metrics import METRICS
from satm.cli._options import Format
from satm.cli._output import say_lines
from satm.errors import PluginError, UnknownName
from satm.report.spreads import spread_text
from satm.report.tables import render

if TYPE_CHECKING:
    from satm.workflow.grouped import Cell, GroupRow


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: Format = Format.TABLE) -> None:
    """Print rows on stdout in the format `form`."""
    say_lines(render(columns, rows, form.value))


def print_results(rows: Sequence[GroupRow], form: Format) -> None:
    """Print the mean, both spreads, the interval and n of each row. CSV and JSON contain plain numbers."""
    columns, lines = plain_table(rows) if form in (Format.CSV, Format.JSON) else results_table(rows)
    print_rows(columns, lines, form)


def plain_table(rows: Sequence[GroupRow]) -> tuple[list[str], list[list[Any]]]:
    """Return the names of the columns, and the rows as plain values.

    Accuracies are fractions. A step is a text such as "2/5", and "" if the result is not of a stream of several steps.
    If there is no interval, its two ends are None.
    """
    columns = ["set", "profile", "protocol", "architecture", "memory", "recipe", "policy", "rate", "step", "metric"]
    columns += ["mean", "std_condensations", "std_networks", "low", "high", "n", "counts", "scope"]
    columns += ["condensations", "networks", "diverged", "mean_of_survivors", "remarks"]
    cells: list[list[Any]] = []
    for row in rows:
        cell, found = row.cell, row.estimate
        about = [row.group.name, cell.profile, cell.protocol, cell.architecture, cell.memory, row.recipe]
        values = [found.mean, row.between_condensations, row.between_networks, *(row.interval or (None, None))]
        cells.append(
            [
                *(*about, cell.policy, row.rate, _step(cell), cell.metric, *values, found.n, found.counts, found.scope),
                *(row.condensations, row.networks, row.diverged, row.survivors, "; ".join(row.remarks)),
            ]
        )
    return columns, cells


def results_table(rows: Sequence[GroupRow]) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns, and the rows as texts. Accuracies are in percent, their spreads in points.

    The first spread is the standard deviation between condensations. The second is the standard deviation between
    networks or, if the protocol is class-incremental, between class orders.
    """
    columns = ["set", "profile", "protocol", "architecture", "memory", "recipe", "learning rate", "step", "metric"]
    columns += ["mean", "95% interval", "spread: condensations", "networks", "n"]
    columns += ["remarks"] if any(row.remarks for row in rows) else []
    cells: list[list[str]] = []
    for row in rows:
        cell = row.cell
        scale, digits, after = (100, 1, " %") if is_fraction(cell) else (1, 3, f" {unit(cell.metric)}".rstrip())
        ends = row.interval
        spreads = [
            spread_text(each, row.estimate, scale=scale, digits=digits, unknown="")
            for each in (row.between_condensations, row.between_networks)
        ]
        cells.append(
            [
                *(row.group.name, cell.profile, cell.protocol, cell.architecture),
                *(shown_memory(cell.protocol, cell.memory), row.recipe),
                " ".join(filter(None, (cell.policy, "" if row.rate is None else f"{row.rate:.3g}"))),
                *(_step(cell), cell.metric),
                f"{scale * row.estimate.mean:.{digits}f}{after}{_diverged(row, scale, digits)}",
                "" if ends is None else f"[{scale * ends[0]:.{digits}f}, {scale * ends[1]:.{digits}f}]",
                *spreads,
                row.size,
                *(["; ".join(row.remarks)] if "remarks" in columns else []),
            ]
        )
    return columns, cells


def count(number: int, name: str) -> str:
    """Return a number with a noun in the right form, such as `1 network` or `5 networks`."""
    return f"{number} {name}{'' if number == 1 else 's'}"


def _diverged(row: GroupRow, scale: int, digits: int) -> str:
    if not row.diverged:
        return ""
    without = "" if row.survivors is None else f", {scale * row.survivors:.{digits}f} without them"
    return f" ({row.diverged} of {row.trained} diverged and count as chance{without})"


def _step(cell: Cell) -> str:
    return "" if cell.steps == 1 else f"{cell.step}/{cell.steps}"


def shown_memory(protocol: str, memory: str) -> str:
    """Return the text that tables show for `memory`, which says which images networks are trained on.

    In a stream they are the replay memory. If they are a set that was condensed once for all classes, and not step by
    step, the text has the mark `whole`. All other texts stay as they are.
    """
    kind, _, notes = memory.removesuffix("]").partition("[")
    if kind != "condensed" or "per-step" in notes or not protocol.startswith("class-incremental"):
        return memory
    return f"condensed[{','.join(filter(None, ('whole', notes)))}]"


def is_fraction(cell: Cell) -> bool:
    """Return whether the number of a cell is a fraction. Fractions are shown in percent.

    All numbers of class-incremental streams count as fractions.
    """
    return unit(cell.metric) == "fraction" or cell.incremental


@cache
def unit(metric: str) -> str:
    """Return the unit of a metric, such as "fraction".

    If no installed package has the metric, or if the package cannot be loaded, the unit is "fraction" for names that
    end with `_accuracy`, and "" for all others.
    """
    try:
        return METRICS.get(metric).unit
    except (UnknownName, PluginError):
        return "fraction" if metric.endswith("_accuracy") else ""
