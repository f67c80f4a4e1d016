"""The headline numbers of all groups, the best first, and the table of every number after the last step."""

from __future__ import annotations

from typing import Any

from satm.report.page import Column, Section, Table, Value
from satm.workflow.grouped import GroupRow
from satm.workflow.headline import best, headlines
from satm.workflow.reporting.material import ROWS, Material
from satm.workflow.reporting.paper import printed
from satm.workflow.reporting.words import card_key, percent

CSV = "satm results --format csv prints all."


def section(material: Material, cards: frozenset[str]) -> Section:
    """Both tables. `cards`: the ids of the sets that have a card."""
    chosen = headlines(material.rows)
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


def _about(row: GroupRow, cards: frozenset[str]) -> list[Value]:
    record, cell = row.group.newest, row.cell
    step = "" if cell.steps == 1 else f", {cell.steps} steps"
    return [
        Value(row.group.name, link=card_key(record.id) if record.id in cards else None),
        *map(Value, (record.dataset, str(record.ipc), record.method, cell.protocol + step, cell.architecture)),
        *map(Value, (cell.memory, cell.profile, row.recipe, cell.policy or "unknown")),
    ]


ABOUT = (
    *(Column("set"), Column("data set", choices=True), Column("IPC", choices=True), Column("method", choices=True)),
    *(Column("protocol", choices=True), Column("architecture", choices=True), Column("memory")),
    *(Column("profile", choices=True), Column("recipe"), Column("learning rate", choices=True)),
)
SPREADS = (
    Column("95% interval", number=True, about="of the mean; none for fewer than three units"),
    Column("spread: condensations", number=True, about="standard deviation between condensations"),
    Column("networks", number=True, about="standard deviation between networks, of streams between class orders"),
    Column("n"),
)


def _leaderboard(rows: list[GroupRow], cards: frozenset[str]) -> Table:
    ordered = sorted(rows, key=_family)
    leading = {id(row) for found in best(rows) if found.of > 1 for row in (found.row, *found.rivals)}
    paper = {id(row): printed(row) for row in ordered[:ROWS]}
    columns = [*ABOUT, Column("accuracy (%)", number=True), *SPREADS]
    columns += [Column("may be best", choices=True, about="no other row of its kind is shown to be better")]
    columns += [Column("the paper's (%)", number=True, about="printed at the scale of the paper")]
    return Table(
        key="headlines",
        title="Headline numbers",
        about="Means with 95% intervals. Spreads are standard deviations in points. n says what is counted. "
        "The paper's numbers were made at its scale: they are no comparison for profiles cpu and smoke.",
        columns=tuple(columns),
        rows=tuple(
            (
                *_about(row, cards),
                Value(percent(row.estimate.mean), row.estimate.mean),
                *_spread(row, 100, 1),
                Value("yes" if id(row) in leading else ""),
                paper[id(row)],
            )
            for row in ordered[:ROWS]
        ),
        left_out=_more(len(ordered)),
    )


def _family(row: GroupRow) -> tuple[Any, ...]:
    record, cell = row.group.newest, row.cell
    shared = (cell.protocol, cell.architecture, cell.profile, row.recipe, cell.policy or "", cell.steps)
    return (record.dataset, record.ipc, cell.protocol != "in-domain", *shared, -row.estimate.mean)


def _spread(row: GroupRow, scale: int, digits: int) -> list[Value]:
    ends_of = row.interval
    interval = "" if ends_of is None else f"[{scale * ends_of[0]:.{digits}f}, {scale * ends_of[1]:.{digits}f}]"
    deviations = [
        Value("") if s is None else Value(f"{scale * s:.{digits}f}", s)
        for s in (row.between_condensations, row.between_networks)
    ]
    notes = [f"{row.diverged} diverged and count as chance"] if row.diverged else []
    width = None if ends_of is None else ends_of[1] - ends_of[0]
    return [
        Value(interval, width),
        *deviations,
        Value(row.size, row.estimate.n, note="; ".join([*notes, *row.remarks])),
    ]


def _everything(rows: tuple[GroupRow, ...], cards: frozenset[str]) -> Table:
    return Table(
        key="numbers",
        title="Every number",
        about="Every metric after the last step, as it is stored: accuracies are fractions.",
        columns=(*ABOUT, Column("metric", choices=True), Column("mean", number=True), *SPREADS),
        rows=tuple(
            (
                *_about(row, cards),
                Value(row.cell.metric),
                Value(f"{row.estimate.mean:.4g}", row.estimate.mean),
                *_spread(row, 1, 3),
            )
            for row in rows[:ROWS]
        ),
        left_out=_more(len(rows)),
    )


def _more(rows: int) -> str:
    return f"The first {ROWS:,} of {rows:,} rows are here. {CSV}" if rows > ROWS else ""
