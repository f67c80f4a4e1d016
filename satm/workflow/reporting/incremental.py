"""The section of the report on class-incremental streams: accuracy after each step, as in the paper's Figure 1."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from satm.report.charts import Lines, Point, Series
from satm.report.page import Section
from satm.workflow.grouped import GroupRow
from satm.workflow.reporting.figures import Easel
from satm.workflow.reporting.material import LINES, Material, left_out, panels
from satm.workflow.reporting.words import PERCENT, arm, said


def section(material: Material, easel: Easel) -> Section:
    """A figure for each data set, IPC, protocol, architecture, profile, recipe and number of steps."""
    chosen, more = panels(material.steps, _key)
    return Section(
        key="incremental",
        title="Class-incremental curves",
        about="Accuracy on all classes seen so far, after each step of a stream. A band is the 95% interval of the "
        "mean. It needs three condensations, or three class orders of one condensation.",
        blocks=tuple(
            easel.figure(_chart(number, (*key[:-1], material.recipe(rows[0])), rows))
            for number, (key, rows) in enumerate(chosen, 1)
        ),
        missing="No class-incremental result is stored here. satm eval-cl SET --steps 5 makes some.",
        left_out=left_out(more, "figures"),
    )


def _key(row: GroupRow) -> tuple[Any, ...]:
    record, cell = row.group.sets[0], row.cell
    return (record.dataset, record.ipc, cell.protocol, cell.architecture, cell.profile, cell.steps, cell.recipe_id)


def _chart(number: int, key: tuple[Any, ...], rows: list[GroupRow]) -> Lines:
    dataset, ipc, protocol, architecture, profile, steps, recipe = key
    arms: dict[str, list[GroupRow]] = defaultdict(list)
    for row in rows:
        arms[arm(row)].append(row)
    best = sorted(arms.items(), key=lambda each: -each[1][-1].estimate.mean)
    more = (
        f" The {LINES} of {len(best)} with the highest accuracy after the last step are drawn."
        if len(best) > LINES
        else ""
    )
    return Lines(
        key=f"incremental-{number}",
        title=f"{dataset}, IPC {ipc}, {steps} steps on {architecture}, profile {profile}",
        about=f"Protocol {protocol}, recipe {recipe}. Each point: a mean over class orders and condensations.{more}",
        x_label="step",
        y_label="accuracy (%)",
        series=tuple(_series(kin, name, found) for kin, (name, found) in enumerate(best[:LINES])),
        whole_x=True,
    )


def _series(kin: int, name: str, rows: list[GroupRow]) -> Series:
    points = []
    for row in sorted(rows, key=lambda each: each.cell.step):
        low, high = row.interval or (None, None)
        points.append(
            Point(
                x=row.cell.step,
                y=PERCENT * row.estimate.mean,
                low=None if low is None else PERCENT * low,
                high=None if high is None else PERCENT * high,
                said=f"step {row.cell.step} of {row.cell.steps}, {said(row)}",
            )
        )
    return Series(name=name, points=tuple(points), kin=kin)
