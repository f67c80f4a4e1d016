"""The section of the report on architectures: the accuracy of each set on each architecture.

It is shown as a table, like the paper's Table 5, and as a heat map.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from satm.report.charts import Heat
from satm.report.page import Column, Figure, Section, Table, Value
from satm.workflow.compare import WHOLE
from satm.workflow.grouped import GroupRow
from satm.workflow.reporting.figures import Easel
from satm.workflow.reporting.material import Material, left_out, panels
from satm.workflow.reporting.words import arm, card_key, cell_of, said

HEAT_ROWS = 30  # the largest number of rows of a heat map; the table has all rows


def section(material: Material, easel: Easel, cards: frozenset[str]) -> Section:
    """A table and a heat map for each data set, IPC, profile and recipe with more than one architecture.

    `cards` has the ids of the sets that have a card on the page; the table links to these cards.
    """
    found = [row for row in material.rows if row.cell.protocol in WHOLE and row.cell.metric == "accuracy"]
    chosen, more = panels(found, _key, most=4 * 6)
    wide = [each for each in chosen if len({row.cell.architecture for row in each[1]}) > 1]
    return Section(
        key="architectures",
        title="Across architectures",
        about="Accuracy in percent of networks trained on a set. Own marks the architecture that a set was made with.",
        blocks=tuple(
            block
            for n, (key, rows) in enumerate(wide[:6], 1)
            for block in _blocks(n, (*key[:-1], material.recipe(rows[0])), rows, easel, cards)
        ),
        missing="No set is judged on two architectures. satm eval-arch SET --arch resnet18 --arch vgg11 does that.",
        left_out=left_out(more + len(wide[6:]), "tables"),
    )


def _key(row: GroupRow) -> tuple[Any, ...]:
    record = row.group.sets[0]
    return (record.dataset, record.ipc, row.cell.profile, row.cell.recipe_id)


def _blocks(
    number: int, key: tuple[Any, ...], rows: list[GroupRow], easel: Easel, cards: frozenset[str]
) -> Iterator[Table | Figure]:
    dataset, ipc, profile, recipe = key
    title = f"{dataset}, IPC {ipc}, recipe {recipe}, profile {profile}"
    own = {row.cell.architecture for row in rows if row.cell.protocol == "in-domain"}
    names = sorted({row.cell.architecture for row in rows}, key=lambda name: (name not in own, name))
    arms: dict[str, dict[str, GroupRow]] = {}
    for row in rows:
        arms.setdefault(arm(row), {}).setdefault(row.cell.architecture, row)
    ordered = sorted(arms.items(), key=lambda each: -max(row.estimate.mean for row in each[1].values()))
    yield Table(
        key=f"architectures-{number}",
        title=title,
        about="Below each mean: the standard deviation between condensations / between networks, in points, and n. "
        "The rate in brackets says where the learning rate comes from.",
        columns=(Column("set"), *(Column(f"{n} (own)" if n in own else n, number=True) for n in names)),
        rows=tuple(
            (
                Value(
                    name,
                    link=card_key(newest) if (newest := next(iter(found.values())).group.newest.id) in cards else None,
                ),
                *(cell_of(found[n]) if n in found else Value("") for n in names),
            )
            for name, found in ordered
        ),
    )
    drawn = ordered[:HEAT_ROWS]
    yield easel.figure(
        Heat(
            key=f"heat-{number}",
            title=f"Heat map: {title}",
            about="Accuracy in percent; lighter is higher. A hatched cell has no result."
            + (f" The {HEAT_ROWS} best of {len(ordered)} sets." if len(ordered) > HEAT_ROWS else ""),
            rows=tuple(name for name, _ in drawn),
            columns=tuple(names),
            values=tuple(tuple(f[n].estimate.mean if n in f else None for n in names) for _, f in drawn),
            said=tuple(tuple(said(f[n]) if n in f else "no result" for n in names) for _, f in drawn),
        )
    )
