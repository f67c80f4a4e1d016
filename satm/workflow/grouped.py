"""Reads the stored results of groups, and computes their means, spreads and intervals.

A group holds sets that differ only in the seed of their condensation. A mean is taken over these condensations and over
the networks that were trained on each set.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

from registry import CHANCE, DIVERGED, Group, Registry
from registry.records import policy_name
from satm.statistics import Crossed, Estimate, accuracy_interval, common, crossed, fresh_draws
from satm.workflow.incremental.differences import depends_on_seed, in_orders, order_means
from satm.workflow.incremental.naming import BASE, ORDERS, PER_STEP

APART = "its group shares no network"  # the remark on a set that has a row of its own, although it is in a group

# The metrics that a reader looks at first: the accuracy of single networks, the final accuracy of class-incremental
# streams.
HEADLINES = ("accuracy", "final_accuracy")
OF_EXPERTS = ("coverage", "diversity")
"""The protocols whose values are measured with the expert of the set, also those of random images."""
SCORE_METRICS = ("coverage", "diversity", "label_robust_score", "augmentation_robust_score")
"""Metrics with values from 0 to 1, in addition to the accuracies and the calibration error."""

DRAWN = ("random", "reservoir", "ssd")
"""How the names of memories begin whose images do not depend on a condensation: each value has a memory of its own."""

Images = Mapping[str, Mapping[tuple[str, str, str, str], int]]
"""The number of test images: set id → (protocol, architecture, memory, recipe id) → number."""

BySeed = Mapping[int, Mapping[int, float]]
"""Values: seed of the condensation → network → value. In class-incremental streams the class orders take the place of
the networks, and a value is the mean over the networks of the order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The facts that all values of one mean have in common."""

    protocol: str
    architecture: str
    memory: str
    recipe_id: str
    profile: str
    policy: str | None  # how the learning rate was found: learned, grid or fixed
    steps: int  # the number of incremental steps of the stream; 1 if there is no stream
    step: int  # the incremental step after which the value was measured; 1 if there is no stream
    metric: str

    @property
    def incremental(self) -> bool:
        """Whether the values come from class-incremental streams. Class orders then take the place of networks."""
        return self.protocol.startswith(BASE)

    @property
    def bounded(self) -> bool:
        """Whether all values of the metric are from 0 to 1. Drops, transfers and forgetting can be negative."""
        return "accuracy" in self.metric or self.metric in ("expected_calibration_error", *SCORE_METRICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """One number of a group: its mean over condensations and networks, with spreads and an interval.

    `estimate` says how many units it has, of which kind they are, and what its interval is about. In a
    class-incremental protocol the class orders take the place of the networks. Random images do not depend on the
    condensation, so their units are not condensations but draws of new images, one for each network.
    """

    group: Group
    cell: Cell
    recipe: str  # the name of the recipe
    rate: float | None  # the learning rate of the networks; None if they do not all have the same
    rates: tuple[float, ...]  # all learning rates of the networks, ascending
    estimate: Estimate
    condensations: int  # the number of condensations
    networks: int  # the number of networks of each condensation, or of class orders if the protocol is incremental
    between_condensations: float | None  # the standard deviation between condensations; None for one condensation
    between_networks: float | None  # the standard deviation between networks; None for one network
    values: BySeed
    trained: int  # the number of networks in the mean; in a stream one class order may have several networks
    fixed: bool = False  # whether the images do not depend on the seed of the condensation; `values` has one seed then
    diverged: int = 0  # how many of the `trained` networks diverged; the accuracy of such a network is chance, 1/K
    survivors: float | None = None  # the mean over the networks that did not diverge; None if none or all diverged
    left_out: int = 0  # the number of values that are not used, because not every condensation has their network
    images: int | None = None  # the number of test images; None if no predictions are stored
    right: tuple[float, ...] | None = None
    """For each test image, the share of the networks that classify it correctly. If it is given, intervals are also
    about new test images."""
    remarks: tuple[str, ...] = ()  # what a reader of the number should know, a few words each

    @property
    def size(self) -> str:
        """A text about the units of the mean: `3 condensations × 5 networks`, `5 networks, this set only` or `5 draws`.

        It also says if values are left out, and if the interval is about new test images.
        """
        if self.estimate.counts == "draws":
            return _count(self.networks, "draw")
        unit = "order" if self.cell.incremental else "network"
        unused = f" ({_count(self.left_out, 'value')} left out)" if self.left_out else ""
        unused += "" if self.right is None else ", and new test images"
        if self.condensations == 1:
            return f"{_count(self.networks, unit)}, this set only{unused}"
        return f"{_count(self.condensations, 'condensation')} × {_count(self.networks, unit)}{unused}"

    @property
    def spread(self) -> float | None:
        """The spread that a reader needs if there is no interval; None if there is only one value.

        It is the sample standard deviation of the means of the condensations. For one condensation, and for random
        images, it is that of the networks.
        """
        if isinstance(self.estimate, Crossed) and self.estimate.std_of_means is not None:
            return self.estimate.std_of_means
        return self.between_networks

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean; None for fewer than three units.

        For a metric with values from 0 to 1 the interval is within 0 and 1. If all networks have the same accuracy, it
        is the interval of Clopper and Pearson for `images` test images, or None if the number of test images is not
        known.
        """
        if 1 < self.networks < 3 and self.cell.incremental:
            return None  # two class orders are too few to measure the spread between orders
        if self.cell.bounded and 0 <= self.estimate.mean <= 1:
            return accuracy_interval(self.estimate, images=self.images, right=self.right)
        return self.estimate.ends()


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def group_results(
    references: Sequence[str] | None = None,
    *,
    each: bool = False,
    new_images: bool = False,
    every_step: bool = True,
    registry: Path | str = "satm.db",
    **filters: Any,
) -> list[GroupRow]:
    """Return the results of the groups that `references` name, or of all groups of the registry.

    Args:
        references: names of sets or groups; None: all groups.
        each: every set gets its own rows, and no mean over the sets of a group is taken.
        new_images: intervals of accuracies are also about new test images: the spread due to the choice of the test
            images is added to the standard error. This needs the stored predictions of all networks.
        every_step: with False, only the last step of a class-incremental stream is returned, and the metrics of the
            matrices of accuracies (`PER_STEP`) are left out.
        filters: the filters of `Registry.results`, except `set`.

    If the sets of a group have no network in common, no mean over the group exists. Each set then has its own row with
    a remark. Raises the errors of `Registry.group`.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        found = pending_rows(
            store, references, each=each, new_images=new_images, every_step=every_step, headlines=False, **filters
        )
        return [row.made() for row in found]


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row whose values are read already. Its mean is computed only if `made` is called."""

    group: Group
    cell: Cell
    sets: frozenset[str]  # the ids of the sets with values in the row
    made: Callable[[], GroupRow]  # computes the row; it must be called while the registry is open


def pending_rows(
    store: Registry,
    references: Sequence[str] | None,
    *,
    headlines: bool,
    each: bool = False,
    new_images: bool = False,
    every_step: bool = True,
    **filters: Any,
) -> list[PendingRow]:
    """Return the rows of `group_results`, but without computing their means.

    With `headlines` only the metrics in `HEADLINES` are read. If a network has none of them, all its metrics are read.
    """
    which = {key: filters[key] for key in ("dataset", "method", "ipc") if filters.get(key) is not None}
    groups = store.groups(**which) if references is None else [store.group(reference) for reference in references]
    if each:
        groups = store.alone(list({record.id: record for group in groups for record in group.sets}.values()))
    sets = None if references is None and not which else [record.id for group in groups for record in group.sets]
    last, only = not every_step, HEADLINES if headlines else ()
    found = _read(store, sets, last_only=last, matrix=not last, rather=only, **filters)
    rows = [
        row for group in groups for row in _rows(store, group, found, filters.get("metric"), new_images, apart=True)
    ]
    return rows if references is not None else _without_repeats(rows)


def _without_repeats(rows: Sequence[PendingRow]) -> list[PendingRow]:
    """Leave out a row if another row of the same cell has the values of all its sets, and perhaps of more sets.

    A set can be in two groups. If no other set of the second group has results, the row of the second group would show
    the number of the first group again.
    """
    holding: dict[tuple[Cell, str], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        for set_id in row.sets:
            holding[row.cell, set_id].append(place)

    def repeats(place: int, row: PendingRow) -> bool:
        others = holding[row.cell, next(iter(row.sets))]
        return any(rows[i].sets > row.sets or (rows[i].sets == row.sets and i < place) for i in others)

    return [row for place, row in enumerate(rows) if not repeats(place, row)]


def stored_rows(store: Registry, groups: Sequence[Group], *, some: bool, matrix: bool = True) -> Iterator[GroupRow]:
    """Return all results of several groups. The registry is read once for all of them.

    `some` says that `groups` are only some of the groups of the registry; then only their sets are read. `matrix=False`
    leaves out the matrices of accuracies of class-incremental streams.
    """
    sets = [record.id for group in groups for record in group.sets] if some else None
    found = _read(store, sets, matrix=matrix)
    rows = [row for group in groups for row in _rows(store, group, found, None, False, apart=True)]
    return (row.made() for row in (rows if some else _without_repeats(rows)))


def group_rows(store: Registry, group: Group, *, new_images: bool = False, **filters: Any) -> Iterator[GroupRow]:
    """Yield the results of one group: one row for every `Cell` of its result rows.

    Values have the unit of their metric. Accuracies are fractions from 0 to 1.
    """
    found = _read(store, [record.id for record in group.sets], **filters)
    return (row.made() for row in _rows(store, group, found, filters.get("metric"), new_images))


@dataclass(slots=True)
class _Part:
    """The result rows of one cell and one set."""

    values: dict[int, float] = field(default_factory=dict)  # maps the repeat (the number of a network) to its value
    rates: set[float] = field(default_factory=set)  # the learning rates of the networks
    guessed: set[int] = field(default_factory=set)  # the repeats that diverged; their stored values are those of chance
    remarks: set[str] = field(default_factory=set)


def _read(
    store: Registry,
    sets: Sequence[str] | None,
    *,
    last_only: bool = False,
    matrix: bool = True,
    rather: Sequence[str] = (),
    **filters: Any,
) -> dict[str, dict[Cell, _Part]]:
    """Read the stored values: set id → cell → the values. The other arguments are those of `Registry.cells`.

    `matrix=False` leaves out the matrices of accuracies of class-incremental streams.
    """
    found: dict[str, dict[Cell, _Part]] = defaultdict(dict)
    without = () if matrix else tuple(f"{prefix}*" for prefix in PER_STEP)
    read = store.cells(sets, without=without, last_only=last_only, rather=rather, **filters)
    for key, (values, rates) in read.items():
        policy, remarks, guessed = _read_noted(key.noted)
        cell = Cell(policy=policy, **{name: getattr(key, name) for name in _SHARED})
        part = found[key.set_id].setdefault(cell, _Part())
        part.values |= values
        part.rates |= rates
        part.guessed |= values.keys() if guessed else set()
        part.remarks |= remarks
    return found


@cache
def _read_noted(noted: str) -> tuple[str | None, frozenset[str], bool]:
    """Return what the JSON text `noted` of a value says, as three parts.

    They are the policy of the learning rate, remarks that a reader of the number should know, and whether the value is
    that of chance, because the network diverged.
    """
    policy, validation, edge, guessed = json.loads(noted)
    remarks = {"validation=0": validation == 0, "rate at the grid's edge": bool(edge)}
    return policy_name(policy), frozenset(text for text, holds in remarks.items() if holds), bool(guessed)


_SHARED = [each.name for each in fields(Cell) if each.name != "policy"]


def _rows(
    store: Registry,
    group: Group,
    stored: Mapping[str, Mapping[Cell, _Part]],
    metric: str | None,
    new_images: bool,
    *,
    apart: bool = False,
) -> Iterator[PendingRow]:
    """Yield the rows of `group`.

    The mean over a group needs a network that all its sets have. If there is none and `apart` is True, each set gets a
    row of its own. If there is none and `apart` is False, ConfigError is raised when the row is computed.
    """
    found: dict[Cell, dict[int, _Part]] = defaultdict(dict)
    for record in group.sets:
        for cell, part in _with_guesses(stored.get(record.id, {}), len(record.about["classes"]), metric).items():
            found[cell][record.seed] = part

    @cache
    def images() -> Images:
        return {record.id: store.test_images(record.id) for record in group.sets if record.id in stored}

    def made(each: Group, cell: Cell, parts: Mapping[int, _Part], lost: Mapping[int, Collection[int]]) -> GroupRow:
        return _with_images(store, _row(store, each, cell, parts, lost), images, new_images=new_images)

    any_lost = any(cell.metric == DIVERGED for cell in found)
    for cell in sorted(found, key=_order):
        if cell.metric != DIVERGED:
            lost = found.get(replace(cell, metric=DIVERGED), {}) if any_lost and cell.metric in CHANCE else {}
            repeats: dict[int, Collection[int]] = {seed: part.values.keys() for seed, part in lost.items()}
            if cell.incremental:  # streams store the values of chance of a diverged network, and mark them
                repeats = {seed: part.guessed for seed, part in found[cell].items()}
            for each, parts in _apart(store, group, cell, found[cell]) if apart else [(group, found[cell])]:
                sets = frozenset(record.id for record in each.sets if record.seed in parts)
                yield PendingRow(each, cell, sets, partial(made, each, cell, parts, repeats))


def _apart(
    store: Registry, group: Group, cell: Cell, parts: Mapping[int, _Part]
) -> Iterator[tuple[Group, Mapping[int, _Part]]]:
    """Yield `group` with its `parts`, by the seed of the set.

    If the sets have no network in common, they have no common mean. Then each set is yielded as a group of its own.
    """
    networks = [set(order_means(part.values) if cell.incremental else part.values) for part in parts.values()]
    if set.intersection(*networks) or not depends_on_seed(cell.memory, group.sets):
        yield group, parts
        return
    for alone in store.alone([record for record in group.sets if record.seed in parts]):
        seed = alone.sets[0].seed
        yield alone, {seed: replace(parts[seed], remarks=parts[seed].remarks | {APART})}


def _order(cell: Cell) -> tuple[Any, ...]:
    return (
        *(cell.protocol, cell.architecture, cell.memory, cell.recipe_id, cell.steps, cell.metric, cell.step),
        *(cell.profile, cell.policy or ""),
    )


def _with_images(store: Registry, row: GroupRow, images: Callable[[], Images], *, new_images: bool) -> GroupRow:
    """Return `row` with the number of its test images, if predictions are stored. `new_images` also adds `right`."""
    cell = row.cell
    if cell.incremental or cell.metric not in CHANCE:  # a stream is tested only on the classes that have arrived
        return row
    key = (cell.protocol, cell.architecture, cell.memory, cell.recipe_id)
    counts = {each[key] for each in images().values() if key in each}
    if len(counts) != 1:
        return row
    right = _shares(store, row) if new_images and cell.metric == "accuracy" else None
    return replace(row, images=counts.pop(), right=right)


def _row(
    store: Registry, group: Group, cell: Cell, parts: Mapping[int, _Part], lost: Mapping[int, Collection[int]]
) -> GroupRow:
    """Compute the row of one cell.

    `parts` are the results, and `lost` are the repeats that diverged; both are by the seed of the condensation.
    """
    fixed = not depends_on_seed(cell.memory, group.sets)
    if fixed:
        parts = _of_same_images(cell, parts)
    # In a class-incremental protocol there is one value for each class order: the mean over its networks.
    values = {seed: order_means(part.values) if cell.incremental else part.values for seed, part in parts.items()}
    table = common(values)
    rates = sorted(set().union(*(part.rates for part in parts.values())))
    counted = [
        (value, repeat in lost.get(seed, ()))
        for seed, part in parts.items()
        for repeat, value in part.values.items()
        if (repeat % ORDERS if cell.incremental else repeat) in table.networks
    ]
    survivors = [value for value, is_lost in counted if not is_lost]
    diverged = len(counted) - len(survivors)
    estimate = crossed(table.tables[0])
    mean: Estimate = fresh_draws(table.tables[0][0]) if cell.memory.startswith(DRAWN) else estimate
    return GroupRow(
        group=group,
        cell=cell,
        recipe=store.recipe_name(cell.recipe_id),
        rate=rates[0] if len(rates) == 1 else None,
        rates=tuple(rates),
        estimate=in_orders(mean) if cell.incremental else mean,
        condensations=estimate.seeds,
        networks=estimate.networks,
        between_condensations=estimate.between_condensations,
        between_networks=estimate.between_networks,
        values=values,
        trained=len(counted),
        fixed=fixed,
        diverged=diverged,
        survivors=sum(survivors) / len(survivors) if diverged and survivors else None,
        left_out=table.left_out,
        remarks=tuple(sorted(set().union(*(part.remarks for part in parts.values())), reverse=True)),
    )


def _of_same_images(cell: Cell, parts: Mapping[int, _Part]) -> Mapping[int, _Part]:
    """Return one part in place of `parts`, the results of images that are the same for every set of a group.

    It is the part with the most networks. If the values depend on the expert of the set, each value is the mean over
    the experts, because the sets' own values are measured with all experts, too.
    """
    fullest = max(parts, key=lambda seed: len(parts[seed].values))
    part = parts[fullest]
    if cell.protocol in OF_EXPERTS:
        found = [each.values for each in parts.values()]
        means = {draw: fmean(values[draw] for values in found if draw in values) for draw in part.values}
        part = replace(part, values=means)
    return {fullest: part}


def _shares(store: Registry, row: GroupRow) -> tuple[float, ...] | None:
    """Return, for each test image, the share of the row's networks that classify it correctly.

    Returns None if a network has no stored predictions, or if the networks were tested on different images.
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


def _with_guesses(parts: Mapping[Cell, _Part], classes: int, wanted: str | None) -> dict[Cell, _Part]:
    """Return `parts` with an accuracy of 1/K for each network that diverged, where K is the number of `classes`.

    The accuracy is added for each metric of accuracy that the other networks have. If they have none, it is added for
    the metric `accuracy`, unless only one metric was read. `wanted` is this one metric; None means that all metrics
    were read. `parts` itself does not change.
    """
    found = dict(parts)
    others = {cell.metric for cell in parts} - {DIVERGED}
    kinds = others.intersection(CHANCE) or ({"accuracy"} if wanted is None else set())
    for cell, part in parts.items():
        for metric in kinds if cell.metric == DIVERGED else ():
            guessed = replace(cell, metric=metric)
            known = found.get(guessed, _Part())
            found[guessed] = _Part(
                values=known.values | dict.fromkeys(part.values, 1 / classes),
                rates=known.rates | part.rates,
                guessed=known.guessed,
                remarks=known.remarks | part.remarks,
            )
    return found
