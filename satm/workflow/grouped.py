"""The stored results of groups: means over condensations and networks, with the spread of each and an interval."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from registry import CHANCE, DIVERGED, Group, Registry
from registry.records import policy_name
from satm.statistics import Estimate, accuracy_interval, common, crossed, fresh_draws
from satm.workflow.incremental.differences import depends_on_seed, in_orders, order_means
from satm.workflow.incremental.naming import BASE, ORDERS, PER_STEP

APART = "its group shares no network"  # the remark on a set that is shown by itself

HEADLINES = ("accuracy", "final_accuracy")
SCORE_METRICS = ("coverage", "diversity", "label_robust_score", "augmentation_robust_score")  # from 0 to 1
"""The metrics that are looked at first: of streams the final accuracy, else the accuracy."""

Images = Mapping[str, Mapping[tuple[str, str, str, str], int]]
"""The numbers of test images by the id of the set, then by protocol, architecture, memory and id of the recipe."""

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
        return "accuracy" in self.metric or self.metric in ("expected_calibration_error", *SCORE_METRICS)


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
    trained: int  # networks that the mean counts: of streams an order may have several
    fixed: bool = False  # the images are the same whatever the seed of the condensation, so `values` has one seed
    diverged: int = 0  # those of `trained` that diverged; as an accuracy each counts as chance, 1/K
    survivors: float | None = None  # the mean without them; None if none diverged, or if none is left
    left_out: int = 0  # values of networks that not every condensation has
    images: int | None = None  # test images; None if no predictions are stored
    right: tuple[float, ...] | None = None
    """For each test image the share of the networks that are right on it. Intervals then speak of new images too."""
    remarks: tuple[str, ...] = ()  # what a reader of the number should know, a few words each

    @property
    def size(self) -> str:
        """What n counts: `3 condensations × 5 networks`, `5 networks, this set only`, `5 draws`."""
        if self.estimate.counts == "draws":
            return _count(self.networks, "draw")
        unit = "order" if self.cell.incremental else "network"
        unused = f" ({_count(self.left_out, 'value')} left out)" if self.left_out else ""
        unused += "" if self.right is None else ", and new test images"
        if self.condensations == 1:
            return f"{_count(self.networks, unit)}, this set only{unused}"
        return f"{_count(self.condensations, 'condensation')} × {_count(self.networks, unit)}{unused}"

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
    """The results of the groups that `references` name, or of all groups.

    `filters` are those of `results` except `set`. `each` keeps the sets of a group apart.
    `new_images` makes intervals of accuracies speak of new test images too, if the predictions of all networks are
    stored: the sampling of the test images is added to the standard error.
    `every_step=False` leaves out all steps of a stream except the last, and the matrix of accuracies.
    If the sets of a group share no network, each of them has a row with a remark.

    Raises the errors of `Registry.group`.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        found = pending_rows(
            store, references, each=each, new_images=new_images, every_step=every_step, headlines=False, **filters
        )
        return [row.made() for row in found]


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row whose values are read, and whose mean is computed when it is needed."""

    group: Group
    cell: Cell
    made: Callable[[], GroupRow]  # while the registry is open


def pending_rows(
    store: Registry,
    references: Sequence[str] | None,
    *,
    headlines: bool,
    each: bool = False,
    new_images: bool = False,
    every_step: bool = True,
    **filters: Any,
) -> Iterator[PendingRow]:
    """The rows of `group_results`, which computes all of them.

    `headlines` leaves out what is not a headline of its network (`HEADLINES`), unless the network has none of them.
    """
    which = {key: filters[key] for key in ("dataset", "method", "ipc") if filters.get(key) is not None}
    groups = store.groups(**which) if references is None else [store.group(reference) for reference in references]
    if each:
        groups = store.alone([record for group in groups for record in group.sets])
    sets = None if references is None and not which else [record.id for group in groups for record in group.sets]
    last, only = not every_step, HEADLINES if headlines else ()
    found = _read(store, sets, last_only=last, matrix=not last, rather=only, **filters)
    for group in groups:
        yield from _rows(store, group, found, filters.get("metric"), new_images, apart=True)


def stored_rows(store: Registry, groups: Sequence[Group], *, some: bool, matrix: bool = True) -> Iterator[GroupRow]:
    """All results of several groups, read at once.

    `some`: they are not all groups of the file. `matrix=False` leaves out the matrices of accuracies.
    """
    sets = [record.id for group in groups for record in group.sets] if some else None
    found = _read(store, sets, matrix=matrix)
    return (row.made() for group in groups for row in _rows(store, group, found, None, False, apart=True))


def group_rows(store: Registry, group: Group, *, new_images: bool = False, **filters: Any) -> Iterator[GroupRow]:
    """The results of one group: a row for every `Cell` of its result rows.

    Values have the unit of their metric; accuracies are fractions.
    """
    found = _read(store, [record.id for record in group.sets], **filters)
    return (row.made() for row in _rows(store, group, found, filters.get("metric"), new_images))


@dataclass(slots=True)
class _Part:
    """The result rows of one cell and one set."""

    values: dict[int, float] = field(default_factory=dict)  # by repeat
    rates: set[float] = field(default_factory=set)
    guessed: set[int] = field(default_factory=set)  # the repeats that diverged, whose stored values are a guess's
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
    """The stored values by the id of the set, then by cell."""
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
    """The policy of the rate, what a reader of the number should know, and whether the value is a guess's."""
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
    """The rows of `group`. `apart`: if its sets share no network, a row for each of them, not ConfigError."""
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
            if cell.incremental:  # a guess is stored as such
                repeats = {seed: part.guessed for seed, part in found[cell].items()}
            for each, parts in _apart(store, group, cell, found[cell]) if apart else [(group, found[cell])]:
                yield PendingRow(each, cell, partial(made, each, cell, parts, repeats))


def _apart(
    store: Registry, group: Group, cell: Cell, parts: Mapping[int, _Part]
) -> Iterator[tuple[Group, Mapping[int, _Part]]]:
    """`group` with its `parts`; if they share no network, each set by itself, for they have no common mean."""
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
    """`row` with the number of its test images, and with `right` if the interval is to speak of new images."""
    cell = row.cell
    if cell.incremental or cell.metric not in CHANCE:  # in a stream only some of the test images count
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
    """The row of one cell. `parts`: the results by condensation seed; `lost`: the repeats that diverged, by seed."""
    fixed = not depends_on_seed(cell.memory, group.sets)
    if fixed:  # the set with the most networks speaks for all
        fullest = max(parts, key=lambda seed: len(parts[seed].values))
        parts = {fullest: parts[fullest]}
    # The values of a class-incremental protocol are by class order, each the mean of its networks.
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
    mean: Estimate = fresh_draws(table.tables[0][0]) if cell.memory.startswith("random") else estimate
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


def _with_guesses(parts: Mapping[Cell, _Part], classes: int, wanted: str | None) -> dict[Cell, _Part]:
    """`parts` with accuracy 1/K for each network that diverged, of the kinds of accuracy that the other networks have.

    Neither is the mapping changed, nor its parts.
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
