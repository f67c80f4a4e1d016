"""The section of the report on costs: accuracy over what a set costs.

The costs are the seconds of the set's condensation, its bytes, and its number of images; each has a chart. In the chart
over the number of images, a prefix of a set (the first images of each class) is one more point.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from statistics import fmean
from typing import Any

from satm.report.charts import Lines, Point, Series
from satm.report.page import Section
from satm.workflow.compare import WHOLE
from satm.workflow.grouped import GroupRow
from satm.workflow.reporting.figures import Easel
from satm.workflow.reporting.material import LINES, Material, left_out, panels
from satm.workflow.reporting.words import PERCENT, policy_of, said

MOST = 3  # the largest number of groups of figures; a group has one data set, architecture, profile and recipe
PREFIX = re.compile(r"\[:(\d+)\]$")  # how the memory of a result names a prefix: `condensed[:3]`


def section(material: Material, easel: Easel) -> Section:
    """For each data set, architecture, profile and recipe: accuracy over images, bytes and seconds."""

    def seconds(row: GroupRow) -> float | None:
        """The mean of the seconds that the condensations of the group took; None for a prefix of the set."""
        runs = [material.run_of(each) for each in row.group.sets]
        known = [run.seconds for run in runs if run is not None and run.seconds > 0]
        return fmean(known) if known and row.cell.memory == "condensed" else None

    found = [row for row in material.rows if row.cell.protocol in WHOLE and row.cell.metric == "accuracy"]
    axes: tuple[tuple[str, str, str, Callable[[GroupRow], float | None]], ...] = (
        ("images", "images in the set", "A prefix, [:k], is the first k images of each class.", _images),
        ("bytes", "bytes of the set", "The size of its stored tensors; the mean of the group's sets.", _bytes),
        ("seconds", "seconds of its condensation", "As its run stored them; the mean of the group's sets.", seconds),
    )
    ready: list[list[Lines]] = []
    for key, rows in panels(found, _key, most=len(found))[0]:
        about = (*key[:-1], material.recipe(rows[0]))
        charts = [_chart(f"{name}-{len(ready) + 1}", about, label, note, rows, of) for name, label, note, of in axes]
        if any(charts):
            ready.append([chart for chart in charts if chart is not None])
    return Section(
        key="costs",
        title="Accuracy against cost",
        about="What a set is worth, beside what it takes. Points of one method and kind of rate are joined.",
        blocks=tuple(easel.figure(chart) for charts in ready[:MOST] for chart in charts),
        missing="No results of sets of different cost are stored here. satm eval SET makes some, also with --prefix 1.",
        left_out=left_out(len(ready[MOST:]), "groups of figures"),
    )


def _key(row: GroupRow) -> tuple[Any, ...]:
    return (row.group.sets[0].dataset, row.cell.architecture, row.cell.profile, row.cell.recipe_id)


def _images(row: GroupRow) -> float:
    record, prefix = row.group.newest, PREFIX.search(row.cell.memory)
    return int(prefix[1]) * len(record.about["classes"]) if prefix else record.images


def _bytes(row: GroupRow) -> float | None:
    return fmean(each.bytes for each in row.group.sets) if row.cell.memory == "condensed" else None


def _method(row: GroupRow) -> str:
    memory = PREFIX.sub("", row.cell.memory)
    name = row.group.newest.method if memory == "condensed" else f"{memory} real images"
    return f"{name} ({policy_of(row)})"


def _chart(
    key: str,
    about: tuple[Any, ...],
    label: str,
    note: str,
    rows: list[GroupRow],
    of: Callable[[GroupRow], float | None],
) -> Lines | None:
    dataset, architecture, profile, recipe = about
    methods: dict[str, list[Point]] = {}
    for row in rows:
        x = of(row)
        if x:
            low, high = row.interval or (None, None)
            methods.setdefault(_method(row), []).append(
                Point(
                    x=x,
                    y=PERCENT * row.estimate.mean,
                    low=None if low is None else PERCENT * low,
                    high=None if high is None else PERCENT * high,
                    said=f"{row.group.name} {row.cell.memory}, {x:,.0f} {label.partition(' ')[0]}, {said(row)}",
                )
            )
    if len({point.x for points in methods.values() for point in points}) < 2:
        return None
    best = sorted(methods.items(), key=lambda each: -max(point.y for point in each[1]))
    more = f" The {LINES} best of {len(best)} are drawn." if len(best) > LINES else ""
    return Lines(
        key=key,
        title=f"{dataset} on {architecture}: accuracy over {label}, profile {profile}",
        about=f"Recipe {recipe}. {note} Bars: 95% intervals.{more}",
        x_label=label,
        y_label="accuracy (%)",
        series=tuple(
            Series(name=name, points=tuple(sorted(points, key=lambda point: point.x)), kin=kin)
            for kin, (name, points) in enumerate(best[:LINES])
        ),
        log_x=True,
    )
