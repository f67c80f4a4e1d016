"""Prints results as a pivot table.

The values of one property of the results (architecture, method, IPC or incremental step) become the columns at the
right. The other properties, such as the set and the protocol, are the names at the left of each line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from satm.cli._options import Format, Pivot
from satm.cli._output import say_lines
from satm.cli._short import (
    ABOUT,
    SEPARATORS,
    about,
    ends_text,
    marks_of,
    mean_text,
    notes_text,
    size_text,
    terminal_width,
    unit_text,
    what_text,
)
from satm.cli._tables import print_rows
from satm.report.fit import GAP, fitted, widths_of, wrapped
from satm.report.tables import render
from satm.workflow.compare import WHOLE
from satm.workflow.grouped import GroupRow

# A pivot table by architecture shows this name in place of the protocols `in-domain` and `cross-arch`, so that the
# results of both are on one line. In both protocols, networks learn all classes at once. In a stream they do not.
ALL_CLASSES = "all classes"
OWN = "in-domain"  # the protocol of an evaluation on the architecture that the set was made with
LEAST = 20  # the smallest number of characters for the names at the left
# In pivot tables by these properties, the names at the left do not contain the version of a set, so the cells show it.
_WITHOUT_SET = (Pivot.METHOD, Pivot.IPC)


@dataclass(frozen=True, slots=True)
class Turned:
    """A pivot table. If two results belong to one cell, the second has a line of its own, with (2) after its name."""

    columns: tuple[str, ...]  # the headings of the names at the left
    names: tuple[tuple[str, ...], ...]  # for each line, the names at the left
    values: tuple[str, ...]  # the headings of the columns at the right
    cells: tuple[tuple[GroupRow | None, ...], ...]  # for each line, the results at the right; None: there is no result


def turned(rows: Sequence[GroupRow], by: Pivot) -> Turned:
    """Return the results as a pivot table, with one column for each value of the property `by`. Nothing is averaged."""
    columns = tuple(name for name in ABOUT if name != by.value)
    found: dict[tuple[str, ...], dict[str, GroupRow]] = {}
    values: dict[str, Any] = {}
    for row in rows:
        value, order = _value(row, by)
        values.setdefault(value, order)
        names = _names(row, by, columns)
        again = 1
        while value in found.get(key := _numbered(names, again), {}):
            again += 1
        found.setdefault(key, {})[value] = row
    shown = tuple(sorted(values, key=lambda each: values[each]) if None not in values.values() else values)
    cells = tuple(tuple(line.get(value) for value in shown) for line in found.values())
    return Turned(columns, tuple(found), shown, cells)


def print_pivot(rows: Sequence[GroupRow], by: Pivot, form: Format, *, more: str = "") -> None:
    """Print the results on stdout as a pivot table, with one column for each value of the property `by`.

    In CSV and JSON, each number of a cell (mean, ends of the interval, spreads, n …) has its own column. `more` is a
    note about rows that are left out; it is printed below the table, but not in CSV, JSON and Markdown.
    """
    table = turned(rows, by)
    if form in (Format.CSV, Format.JSON):
        kinds = ("mean", "low", "high", "std_condensations", "std_networks", "n", "set", "remarks")
        columns = [*table.columns, *(f"{value} {kind}" for value in table.values for kind in kinds)]
        lines = [
            [*names, *(number for cell in line for number in _plain(cell))]
            for names, line in zip(table.names, table.cells, strict=True)
        ]
        print_rows(columns, lines, form)
        return
    sizes = Counter(size_text(cell) for line in table.cells for cell in line if cell is not None)
    same = next(iter(sizes)) if len(sizes) == 1 else None  # if all cells have the same n, the title shows it once
    marks = marks_of([notes_text(cell) for line in table.cells for cell in line if cell is not None])
    texts = [[_cell(cell, by, marks, with_n=same is None) for cell in line] for line in table.cells]
    noted = [f"{mark}: {text}" for text, mark in marks.items()]
    if form is Format.MARKDOWN:
        marked = [[*names, *line] for names, line in zip(table.names, texts, strict=True)]
        say_lines("\n\n".join([render([*table.columns, *table.values], marked, form.value), *noted]))
        return
    shown = _lines(table, texts, by, same, terminal_width())
    said = [wrapped([text], terminal_width()) for text in (*noted, more) if text]
    say_lines("\n".join([*shown, *said]))


def _lines(table: Turned, texts: Sequence[Sequence[str]], by: Pivot, same: str | None, limit: int) -> list[str]:
    rows = [cell for line in table.cells for cell in line if cell is not None]
    n = f"n = {same}" if same is not None else "(n)"
    title = f"{what_text(rows)} [95% interval] or ± spread, {n}: condensations × {unit_text(rows)}"
    widths = widths_of(table.values, texts)
    left = fitted(
        table.columns,
        table.names,
        about=len(table.columns),
        limit=max(LEAST, limit - max(widths) - GAP),
        separators=SEPARATORS,
    )
    lines = [wrapped([title], limit), *([wrapped(left.shared, limit, before="all: ")] if left.shared else [])]
    taken = sum(each + GAP for each in widths_of(left.columns, left.rows))
    blocks = []
    for begin, end in _blocks(widths, limit - taken):
        part = [[*names, *line[begin:end]] for names, line in zip(left.rows, texts, strict=True)]
        blocks.append(render([*left.columns, *table.values[begin:end]], part, "table"))
    lines.append("\n\n".join(blocks))
    own = by is Pivot.ARCHITECTURE and any(row.cell.protocol == OWN for row in rows)
    lines += ["*: the set's own architecture"] if own else []
    versions = by in _WITHOUT_SET and any("@" in row.group.name for row in rows)
    return [*lines, *(["@: versions of the set"] if versions else [])]


def _blocks(widths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Divide the columns at the right into blocks that are printed below each other.

    A block has as many columns as fit into the width `room`, but at least one. Returns two numbers for each block: that
    of its first column, and that of the column after its last.
    """
    blocks, begin, used = [], 0, 0
    for i, each in enumerate(widths):
        if i > begin and used + each > room:
            blocks.append((begin, i))
            begin, used = i, 0
        used += each + GAP
    return [*blocks, (begin, len(widths))]


def _value(row: GroupRow, by: Pivot) -> tuple[str, Any]:
    """Return the heading of the column that a result belongs to, and the sort key of this column.

    If the sort key is None, the columns are not sorted: they stay in the order in which they first appear.
    """
    record, cell = row.group.sets[0], row.cell
    if by is Pivot.ARCHITECTURE:
        return cell.architecture, None
    if by is Pivot.METHOD:
        return record.method, None
    if by is Pivot.IPC:
        return f"IPC {record.ipc}", record.ipc
    return f"{cell.step}/{cell.steps}", (cell.steps, cell.step)


def _names(row: GroupRow, by: Pivot, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names at the left of a result's line, in the order of `columns`."""
    record, named = row.group.sets[0], dict(zip(ABOUT, about(row), strict=True))
    if by is Pivot.ARCHITECTURE and row.cell.protocol in WHOLE:
        named["protocol"] = ALL_CLASSES
    if by is Pivot.METHOD:
        named["set"] = f"{record.dataset}/ipc{record.ipc}"
    if by is Pivot.IPC:
        named["set"] = f"{record.dataset}/{record.method}"
    return tuple(named[name] for name in columns)


def _numbered(names: tuple[str, ...], again: int) -> tuple[str, ...]:
    """Return the names of the line for result number `again` (from 1) of one cell.

    From the second result on, the first name is followed by this number.
    """
    return names if again == 1 else (f"{names[0]} ({again})", *names[1:])


def _cell(row: GroupRow | None, by: Pivot, marks: Mapping[str, str], *, with_n: bool) -> str:
    if row is None:
        return ""
    ends = ends_text(row).replace("sd ", "± ")
    n = f"({size_text(row)})" if with_n else ""
    own = "*" if by is Pivot.ARCHITECTURE and row.cell.protocol == OWN else ""
    _, at, versions = row.group.name.partition("@") if by in _WITHOUT_SET else ("", "", "")
    number = " ".join(filter(None, (mean_text(row), ends, n))) + own
    return " ".join(filter(None, (number, f"{at}{versions}", marks.get(notes_text(row), ""))))


def _plain(row: GroupRow | None) -> list[float | int | str | None]:
    if row is None:
        return [None] * 8
    low, high = row.interval or (None, None)
    spreads = (row.between_condensations, row.between_networks)
    return [row.estimate.mean, low, high, *spreads, row.estimate.n, row.group.name, notes_text(row)]
