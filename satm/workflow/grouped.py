"""The stored results of groups: means over condensations and networks, with the spread of each and an interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry import Group, Registry, ResultRow, SetRecord
from satm.statistics import Estimate, accuracy_interval, common, crossed, fresh_draws
from satm.workflow.incremental.differences import depends_on_seed, in_orders, order_means
from satm.workflow.incremental.naming import BASE, GUESSED

CHANCE = ("accuracy", "macro_accuracy")  # the metrics of which a diverged network has the value of chance, 1/K

BySeed = Mapping[int, Mapping[int, float]]
"""Values by the seed of the condensation, then by the network, or by the class order (the mean of its networks)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What the values of one mean have in common."""

    protocol: str
    architecture: str
    memory: str
    recipe_id: str
    profile: str
    policy: str | None  # where the learning rate comes from
    steps: int
    step: int
    metric: str

    @property
    def incremental(self) -> bool:
        """Whether the values are of class-incremental streams, so that class orders take the place of networks."""
        return self.protocol.startswith(BASE)

    @property
    def bounded(self) -> bool:
        """Whether the metric lies from 0 to 1. Drops, transfers and forgetting can be negative."""
        return "accuracy" in self.metric or self.metric == "expected_calibration_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """One number of a group: its mean over condensations and networks.

    `estimate` says what it counts and what its interval speaks of. Networks of a class-incremental protocol count as
    class orders. Random images do not depend on the condensation, so their draws are counted instead.
    """

    group: Group
    cell: Cell
    recipe: str  # its name
    rate: float | None  # the learning rate; None if there are several
    rates: tuple[float, ...]  # all of them, ascending
    estimate: Estimate
    condensations: int
    networks: int  # of each condensation; class orders if the protocol is class-incremental
    between_condensations: float | None  # standard deviations; None if one value cannot tell
    between_networks: float | None
    values: BySeed
    diverged: int = 0  # networks that diverged; as an accuracy each counts as chance, 1/K
    survivors: float | None = None  # the mean without them; None if none diverged, or if none is left
    left_out: int = 0  # values of networks that not every condensation has
    images: int | None = None  # test images; None if no predictions are stored
    right: tuple[float, ...] | None = None
    """For each test image the share of the networks that are right on it. Intervals then speak of new images too."""
    remarks: tuple[str, ...] = ()  # what a reader of the number should know, a few words each

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean; None for fewer than three units.

        For metrics from 0 to 1 it stays there. If all networks have the same accuracy, it is Clopper and Pearson's for
        `images` test images, or None if their number is not known.
        """
        if 1 < self.networks < 3 and self.cell.incremental:
            return None  # two orders always agree or disagree by chance
        if self.cell.bounded and 0 <= self.estimate.mean <= 1:
            return accuracy_interval(self.estimate, images=self.images, right=self.right)
        return self.estimate.ends()


def group_results(
    references: Sequence[str] | None = None,
    *,
    each: bool = False,
    new_images: bool = False,
    registry: Path | str = "satm.db",
    **filters: Any,
) -> list[GroupRow]:
    """The results of the groups that `references` name, or of all groups.

    `filters` are those of `results` except `set`. `each` keeps the sets of a group apart.
    `new_images` makes intervals of accuracies speak of new test images too, if the predictions of all networks are
    stored: the sampling of the test images is added to the standard error.

    Raises the errors of `Registry.group`.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        which = {key: filters[key] for key in ("dataset", "method", "ipc") if key in filters}
        groups = store.groups(**which) if references is None else [store.group(reference) for reference in references]
        if each:
            groups = [store.group(record.id) for group in groups for record in group.sets]
        return [row for group in groups for row in group_rows(store, group, new_images=new_images, **filters)]


def group_rows(store: Registry, group: Group, *, new_images: bool = False, **filters: Any) -> Iterator[GroupRow]:
    """The results of one group: a row for every `Cell` of its result rows.

    Values have the unit of their metric; accuracies are fractions.
    """
    found: dict[Cell, dict[int, list[ResultRow]]] = {}
    for record in group.sets:
        rows = store.results(set=record.id, **filters)
        if filters.get("metric") in CHANCE:
            rows += store.results(set=record.id, **{**filters, "metric": "diverged"})
        for row in [*rows, *_guesses(rows, record, filters.get("metric"))]:
            found.setdefault(_cell(row), {}).setdefault(record.seed, []).append(row)
    images = {record.id: store.test_images(record.id) for record in group.sets}
    for cell, by_seed in found.items():
        if cell.metric != "diverged":
            lost = found.get(replace(cell, metric="diverged"), {}) if cell.metric in CHANCE else {}
            if cell.incremental:  # a guess is stored as such
                lost = {seed: [row for row in rows if row.detail.get(GUESSED)] for seed, rows in by_seed.items()}
            repeats = {seed: {row.repeat for row in rows} for seed, rows in lost.items()}
            yield _with_images(store, _row(store, group, cell, by_seed, repeats), images, new_images=new_images)


def _with_images(
    store: Registry, row: GroupRow, images: Mapping[str, Mapping[tuple[str, str, str, str], int]], *, new_images: bool
) -> GroupRow:
    """`row` with the number of its test images, and with `right` if the interval is to speak of new images."""
    cell = row.cell
    if cell.incremental:  # before the last step only some of the test images count
        return row
    key = (cell.protocol, cell.architecture, cell.memory, cell.recipe_id)
    counts = {each[key] for each in images.values() if key in each}
    if cell.metric not in CHANCE or len(counts) != 1:
        return row
    right = _shares(store, row) if new_images and cell.metric == "accuracy" else None
    return replace(row, images=counts.pop(), right=right)


def _row(
    store: Registry, group: Group, cell: Cell, rows: Mapping[int, list[ResultRow]], lost: Mapping[int, set[int]]
) -> GroupRow:
    """The row of one cell. `rows`: the results by condensation seed; `lost`: the repeats that diverged, by seed."""
    if not depends_on_seed(cell.memory, group.sets):  # the set with the most networks speaks for all
        fullest = max(rows, key=lambda seed: len(rows[seed]))
        rows = {fullest: rows[fullest]}
    values = {seed: _by_unit(cell, found) for seed, found in rows.items()}
    table = common(values)
    rates = sorted({row.step_size for found in rows.values() for row in found})
    survivors = [row.value for seed, found in rows.items() for row in found if row.repeat not in lost.get(seed, ())]
    diverged = sum(len(lost.get(seed, ())) for seed in rows)
    estimate = crossed(table.tables[0])
    counted: Estimate = fresh_draws(table.tables[0][0]) if cell.memory.startswith("random") else estimate
    return GroupRow(
        group=group,
        cell=cell,
        recipe=store.recipe(cell.recipe_id).name,
        rate=rates[0] if len(rates) == 1 else None,
        rates=tuple(rates),
        estimate=in_orders(counted) if cell.incremental else counted,
        condensations=estimate.seeds,
        networks=estimate.networks,
        between_condensations=estimate.between_condensations,
        between_networks=estimate.between_networks,
        values=values,
        diverged=diverged,
        survivors=sum(survivors) / len(survivors) if diverged and survivors else None,
        left_out=table.left_out,
        remarks=_remarks(row for found in rows.values() for row in found),
    )


def _remarks(rows: Iterable[ResultRow]) -> tuple[str, ...]:
    """Whether no images were held out, and whether a learning rate is at the edge of its grid."""
    details = [row.detail for row in rows]
    found = {
        "validation=0": any(each.get("validation") == 0 for each in details),
        "rate at the grid's edge": any(
            isinstance(g := each.get("grid"), Mapping) and g.get("edge") for each in details
        ),
    }
    return tuple(remark for remark, holds in found.items() if holds)


def _shares(store: Registry, row: GroupRow) -> tuple[float, ...] | None:
    """For each test image the share of the row's networks that are right on it.

    None if a network has no stored predictions, or if the networks were tested on different images.
    """
    cell = row.cell
    found = []
    for record in row.group.sets:
        wanted = row.values.get(record.seed, {}).keys()
        stored = store.predictions(
            set=record.id,
            protocol=cell.protocol,
            architecture=cell.architecture,
            memory=cell.memory,
            recipe_id=cell.recipe_id,
        )
        kept = [each for each in stored if each.repeat in wanted]
        if len(kept) < len(wanted):
            return None
        found += kept
    if len({each.test for each in found}) != 1:
        return None
    return tuple(float(share) for share in sum(each.predicted == each.targets for each in found) / len(found))


def _by_unit(cell: Cell, rows: Iterable[ResultRow]) -> dict[int, float]:
    """The values by network; of a class-incremental protocol by class order, each the mean of its networks."""
    if not cell.incremental:
        return {row.repeat: row.value for row in rows}
    return order_means({row.repeat: row.value for row in rows})


def _guesses(rows: Sequence[ResultRow], record: SetRecord, wanted: str | None) -> Iterator[ResultRow]:
    """Accuracy 1/K for each network that diverged, of the kinds of accuracy that the other networks have."""
    others = {row.metric for row in rows} - {"diverged"}
    kinds = others.intersection(CHANCE) or ({"accuracy"} if wanted is None else set())
    for row in rows:
        if row.metric == "diverged":
            for metric in kinds:
                yield replace(row, metric=metric, value=1 / len(record.about["classes"]))


def _cell(row: ResultRow) -> Cell:
    return Cell(
        protocol=row.protocol,
        architecture=row.architecture,
        memory=row.memory,
        recipe_id=row.recipe_id,
        profile=row.profile,
        policy=row.policy,
        steps=row.steps,
        step=row.step,
        metric=row.metric,
    )
