"""The section of the report on classes: the accuracy on each class, computed from stored predictions of networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry import Registry
from satm.report.charts import Heat
from satm.report.page import Column, Figure, Section, Table, Value
from satm.report.spreads import spread_text
from satm.statistics import Crossed, accuracy_interval, common, crossed
from satm.workflow.compare import WHOLE
from satm.workflow.grouped import GroupRow
from satm.workflow.reporting.figures import Easel
from satm.workflow.reporting.material import Material, left_out, panels
from satm.workflow.reporting.words import arm, percent

SETS = 12  # the largest number of sets in a table, one column for each
HEAT_CLASSES = 20  # the largest number of classes for which a heat map is drawn, one column for each


def section(material: Material, easel: Easel) -> Section:
    """A table for each data set, architecture, profile and recipe, and a heat map if there are few classes."""
    wanted = [
        row
        for row in material.rows
        if row.cell.protocol in WHOLE and row.cell.metric == "accuracy" and row.images is not None
    ]
    chosen, more = panels(wanted, _key, most=3)
    return Section(
        key="classes",
        title="Accuracy on each class",
        about="From the stored predictions of networks. Each number is the mean over condensations and networks of the "
        "share of the class's test images that are right.",
        blocks=tuple(
            block
            for n, (key, rows) in enumerate(chosen, 1)
            for block in _blocks(n, (*key[:-1], material.recipe(rows[0])), rows, material.store, easel)
        ),
        missing="No predictions are stored here. satm eval SET --save-predictions stores them.",
        left_out=left_out(more, "tables"),
    )


def _key(row: GroupRow) -> tuple[Any, ...]:
    record = row.group.sets[0]
    return (record.dataset, row.cell.architecture, row.cell.profile, tuple(record.about["classes"]), row.cell.recipe_id)


def _blocks(
    number: int, key: tuple[Any, ...], rows: list[GroupRow], store: Registry, easel: Easel
) -> Iterator[Table | Figure]:
    dataset, architecture, profile, classes, recipe = key
    best = sorted(rows, key=lambda row: -row.estimate.mean)[:SETS]
    found = [(row, each) for row in best if (each := _by_class(row, store)) is not None]
    if not found:
        return
    title = f"{dataset} on {architecture}, recipe {recipe}, profile {profile}"
    more = f" The {SETS} best of {len(rows)}." if len(rows) > SETS else ""
    yield Table(
        key=f"classes-{number}",
        title=title,
        about="Percent, with 95% interval; below it the standard deviation between condensations / between networks, "
        f"in points, and the number of the class's test images.{more}",
        columns=(Column("class"), *(Column(arm(row), number=True) for row, _ in found)),
        rows=tuple(
            (Value(name), *(Value(_mean(y, m), y.mean, note=f"{_spreads(y)} · {m} images") for y, m in each))
            for name, each in zip(classes, zip(*(values for _, values in found), strict=True), strict=True)
        ),
    )
    if len(classes) <= HEAT_CLASSES:
        yield easel.figure(
            Heat(
                key=f"classes-heat-{number}",
                title=f"Classes: {title}",
                about="Accuracy in percent; lighter is higher.",
                rows=tuple(arm(row) for row, _ in found),
                columns=tuple(classes),
                values=tuple(tuple(y.mean for y, _ in values) for _, values in found),
                said=tuple(
                    tuple(f"{_mean(y, m)} %, {row.size}, {m} test images, profile {profile}" for y, m in values)
                    for row, values in found
                ),
            )
        )


def _by_class(row: GroupRow, store: Registry) -> list[tuple[Crossed, int]] | None:
    """For each class: the estimate of the accuracy on it, and the number of its test images.

    The result is None if a network of the row has no stored predictions, if the networks were tested on different test
    images, or if a class has no test images.
    """
    cell, tests = row.cell, set()
    shares: list[dict[int, dict[int, float]]] = []  # for each class, the accuracy by condensation seed and repeat
    counts: list[int] = []  # for each class, the number of its test images
    for record in row.group.sets:
        wanted = row.values.get(record.seed, {})
        for each in (
            store.predictions(
                set=record.id,
                protocol=cell.protocol,
                architecture=cell.architecture,
                memory=cell.memory,
                recipe_id=cell.recipe_id,
            )
            if wanted
            else ()
        ):
            if each.repeat not in wanted:
                continue
            tests.add(each.test)
            counts = counts or [int((each.targets == k).sum()) for k in range(each.num_classes)]
            shares = shares or [{} for _ in counts]
            if 0 in counts:
                return None
            right = each.predicted == each.targets
            for k, share in enumerate(shares):
                share.setdefault(record.seed, {})[each.repeat] = float(right[each.targets == k].mean())
    if len(tests) != 1 or {s: set(v) for s, v in shares[0].items()} != {s: set(v) for s, v in row.values.items()}:
        return None
    return [(crossed(common(share).tables[0]), count) for share, count in zip(shares, counts, strict=True)]


def _mean(found: Crossed, images: int) -> str:
    ends = accuracy_interval(found, images=images) if images > 1 else None
    return percent(found.mean) + ("" if ends is None else f" [{percent(ends[0])}, {percent(ends[1])}]")


def _spreads(found: Crossed) -> str:
    return " / ".join(spread_text(each, found) for each in (found.between_condensations, found.between_networks))
