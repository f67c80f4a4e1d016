"""The section of the report with two tables of results.

The first table has the headline numbers of all groups (the accuracy, or the final accuracy of a class-incremental
stream), with the best first. The second table has every metric after the last step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from satm.report.page import Column, Section, Table, Value
from satm.report.spreads import spread_text
from satm.workflow.compare import WHOLE
from satm.workflow.grouped import GroupRow
from satm.workflow.headline import best, headlines, is_headline
from satm.workflow.reporting.material import ROWS, Material
from satm.workflow.reporting.paper import printed
from satm.workflow.reporting.words import card_key, percent

CSV = "satm results --format csv prints all."


def section(material: Material, cards: frozenset[str]) -> Section:
    """The section with both tables. `cards` has the ids of the sets that have a card; the tables link to these."""
    # The headline table leaves out scores, and also accuracies on corrupted images. The second table has both.
    chosen = [
        row
        for row in headlines(material.rows)
        if is_headline(row.cell) and (row.cell.incremental or row.cell.protocol in WHOLE)
    ]
    tables = [_leaderboard(chosen, cards), _everything(material.rows, cards)] if material.rows else []
    return Section(
        key="leaderboard",
        title="Leaderboard",
        about="Accuracy, of streams the final accuracy. Compare rows of one data set, IPC, protocol, architecture, "
        "profile, recipe and kind of learning rate only.",
        blocks=tuple(tables),
        missing="No result is stored here. satm eval SET makes some."
        if material.groups
        else "This registry has no set yet. satm condense digits --ipc 1 makes one, satm eval judges it.",
    )


def _leaderboard(rows: list[GroupRow], cards: frozenset[str]) -> Table:
    ordered = sorted(rows, key=_family)
    # The rows that may be the best of their kind: the row with the best mean, and its rivals, the rows for which it is
    # not shown that the best row is better.
    leading = {id(row) for found in best(rows) if found.of > 1 for row in (found.row, *found.rivals)}
    columns = [Column("set"), Column("accuracy (%)", number=True), *SPREADS[:1], *SPREADS[-1:]]
    columns += [
        Column("the paper's (%)", number=True, about="printed at the scale of the paper"),
        *ABOUT,
        *SPREADS[1:-1],
    ]
    columns += [Column("may be best", choices=True, about="the best row of its kind is not shown to be better")]
    lines = []
    for row in ordered[:ROWS]:
        interval, *deviations, n = _spread(row, 100, 1)
        mean = Value(percent(row.estimate.mean), row.estimate.mean)
        may = Value("yes" if id(row) in leading else "")
        lines.append((_name(row, cards), mean, interval, n, printed(row), *_about(row), *deviations, may))
    return _without_shared(
        Table(
            key="headlines",
            title="Headline numbers",
            about="Means with 95% intervals. Spreads are standard deviations in points. n says what is counted. "
            "The paper's numbers were made at its scale: they are no comparison for profiles cpu and smoke.",
            columns=tuple(columns),
            rows=tuple(lines),
            left_out=_more(len(ordered)),
        )
    )


def _everything(rows: tuple[GroupRow, ...], cards: frozenset[str]) -> Table:
    lines = []
    for row in rows[:ROWS]:
        interval, *deviations, n = _spread(row, 1, 3)
        mean = Value(f"{row.estimate.mean:.4g}", row.estimate.mean)
        lines.append((_name(row, cards), Value(row.cell.metric), mean, interval, n, *_about(row), *deviations))
    columns = [Column("set"), Column("metric", choices=True), Column("mean", number=True), *SPREADS[:1], *SPREADS[-1:]]
    return _without_shared(
        Table(
            key="numbers",
            title="Every number",
            about="Every metric after the last step, as it is stored: accuracies are fractions.",
            columns=(*columns, *ABOUT, *SPREADS[1:-1]),
            rows=tuple(lines),
            left_out=_more(len(rows)),
        )
    )


def _name(row: GroupRow, cards: frozenset[str]) -> Value:
    newest = row.group.newest.id
    return Value(row.group.name, link=card_key(newest) if newest in cards else None)


def _about(row: GroupRow) -> list[Value]:
    record, cell = row.group.newest, row.cell
    step = "" if cell.steps == 1 else f", {cell.steps} steps"
    return [
        *map(Value, (cell.profile, cell.protocol + step, cell.architecture, cell.memory, cell.policy or "unknown")),
        *map(Value, (row.recipe, record.dataset, str(record.ipc), record.method)),
    ]


ABOUT = (
    *(Column("profile", choices=True), Column("protocol", choices=True), Column("architecture", choices=True)),
    *(Column("memory"), Column("learning rate", choices=True), Column("recipe")),
    *(Column("data set", choices=True), Column("IPC", choices=True), Column("method", choices=True)),
)
SPREADS = (
    Column("95% interval", number=True, about="of the mean; none for fewer than three units"),
    Column("spread: condensations", number=True, about="standard deviation between condensations"),
    Column("spread: networks", number=True, about="standard deviation between networks, of streams between orders"),
    Column("n"),
)
KEPT = ("set", "profile", "95% interval", "n")


def _without_shared(table: Table) -> Table:
    """`table` without empty columns (the first one always stays) and without columns of one text in every row.

    The text above the table then gives the names of the latter columns and their common text. Columns of numbers and
    those in `KEPT` stay, even if their texts are equal.
    """
    shared = {
        position: table.rows[0][position].text
        for position, column in enumerate(table.columns)
        if column.name not in KEPT and not column.number and len(table.rows) > 1 and len(table.choices(position)) == 1
    }
    empty = {k for k, column in enumerate(table.columns) if not any(row[k].text for row in table.rows)}
    said = [f"{table.columns[k].name} {text}" for k, text in shared.items() if text]
    gone = shared.keys() | empty - {0}
    return replace(
        table,
        about=table.about + (f" In all rows: {', '.join(said)}." if said else ""),
        columns=tuple(column for k, column in enumerate(table.columns) if k not in gone),
        rows=tuple(tuple(value for k, value in enumerate(row) if k not in gone) for row in table.rows),
    )


def _family(row: GroupRow) -> tuple[Any, ...]:
    # The sort key of the headline table: comparable rows are neighbours, the row with the highest mean first.
    record, cell = row.group.newest, row.cell
    shared = (cell.protocol, cell.architecture, cell.profile, row.recipe, cell.recipe_id, cell.policy or "", cell.steps)
    return (record.dataset, record.ipc, cell.protocol != "in-domain", *shared, -row.estimate.mean)


def _spread(row: GroupRow, scale: int, digits: int) -> list[Value]:
    ends_of = row.interval
    interval = "" if ends_of is None else f"[{scale * ends_of[0]:.{digits}f}, {scale * ends_of[1]:.{digits}f}]"
    deviations = [
        Value("") if s is None else Value(spread_text(s, row.estimate, scale=scale, digits=digits), s)
        for s in (row.between_condensations, row.between_networks)
    ]
    notes = [f"{row.diverged} diverged and count as chance"] if row.diverged else []
    width = None if ends_of is None else ends_of[1] - ends_of[0]
    return [
        Value(interval, width),
        *deviations,
        Value(row.size, row.estimate.n, note="; ".join([*notes, *row.remarks])),
    ]


def _more(rows: int) -> str:
    return f"The first {ROWS:,} of {rows:,} rows are here. {CSV}" if rows > ROWS else ""
