"""The one number of a set that is looked at first, and the best sets by the rule of the leaderboard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from registry import Registry
from satm.errors import ConfigError
from satm.workflow.grouped import HEADLINES, BySeed, Cell, GroupRow, PendingRow

R = TypeVar("R", bound=GroupRow | PendingRow)

NETWORK_HEADLINES = (HEADLINES[0], "label_robust_score", "augmentation_robust_score")
STREAM_HEADLINES = HEADLINES[::-1]
ORDER = ("in-domain", "cross-arch")
PARTS = "corruptions/"  # the protocols of single corruptions begin so
LESS_IS_BETTER = ("forgetting", "old_class_drop")  # of streams; METRICS has those of single networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The row with the best mean of those that may be compared."""

    row: GroupRow
    of: int  # rows that were compared, this one included
    rivals: tuple[GroupRow, ...]  # those of which it is not shown that `row` is better


def is_headline(cell: Cell) -> bool:
    """Whether the metric is the one that a reader expects of this protocol."""
    return cell.metric == _headlines(cell)[0]


def headlines(rows: Iterable[R]) -> list[R]:
    """Of each group, protocol, architecture, memory, recipe, profile and policy one row.

    It is the accuracy, of streams the final accuracy, else the first metric that is there; and its last step. Of
    corruptions only the mean is a headline. The
    groups stay in the order given; of each, in-domain results come first and those of streams last.
    """
    found: dict[tuple[Any, ...], R] = {}
    for row in rows:
        cell = row.cell
        if cell.protocol.startswith(PARTS):
            continue
        key = (row.group.name, *(getattr(cell, name) for name in _APART))
        before = found.get(key)
        if before is None or _rank(cell) > _rank(before.cell):
            found[key] = row
    place = {name: i for i, name in enumerate(dict.fromkeys(row.group.name for row in found.values()))}
    return sorted(found.values(), key=lambda row: (place[row.group.name], _protocol_place(row.cell)))


def _headlines(cell: Cell) -> Sequence[str]:
    return STREAM_HEADLINES if cell.incremental else NETWORK_HEADLINES


def _protocol_place(cell: Cell) -> int:
    return ORDER.index(cell.protocol) if cell.protocol in ORDER else len(ORDER) + cell.incremental


_APART = ("protocol", "architecture", "memory", "recipe_id", "profile", "policy", "steps")


def _rank(cell: Cell) -> tuple[int, int]:
    names = _headlines(cell)
    return (-names.index(cell.metric) if cell.metric in names else -len(names), cell.step)


def best(rows: Sequence[GroupRow]) -> list[Best]:
    """The best row of each part of the leaderboard: one data set, IPC, architecture, protocol, profile, recipe, policy,
    number of steps and metric. Nothing is compared across parts. `rows` holds headlines.

    A row is a rival if the best one is not shown to be better than it, at a level that holds for the whole part. Rows
    are compared by condensation seed and network, as `compare` does it. Real images that belong to no seed are compared
    with every condensation, network by network. Rows that share fewer than three seeds show nothing about each other.
    """
    parts: dict[tuple[Any, ...], list[GroupRow]] = defaultdict(list)
    for row in rows:
        record, cell = row.group.sets[0], row.cell
        shared = (cell.protocol, cell.profile, cell.recipe_id, cell.policy, cell.steps, cell.step, cell.metric)
        parts[(record.dataset, record.ipc, cell.architecture, *shared)].append(row)
    return [_best(part) for part in parts.values()]


def _best(part: Sequence[GroupRow]) -> Best:
    sign = -1 if _less_is_better(part[0].cell.metric) else 1
    first = max(part, key=lambda row: sign * row.estimate.mean)
    others = [row for row in part if row is not first]
    rivals = tuple(row for row in others if not _beaten(row, first, len(others), sign))
    return Best(row=first, of=len(part), rivals=rivals)


def _beaten(row: GroupRow, first: GroupRow, comparisons: int, sign: int) -> bool:
    """Whether `first` is shown to be better, at a level that holds for so many comparisons.

    The best row is not the best method for sure, so a row stays unless it is shown to be worse.
    """
    from satm.statistics import FEWEST, LEVEL, common, compare

    better, worse = _by_seed(first, row)
    if len(better.keys() & worse.keys()) < FEWEST:
        return False
    try:
        table = common(better, worse)
    except ConfigError:  # no network in common
        return False
    found = compare(table.tables[0], table.tables[1])
    ends = found.difference.ends(1 - 2 * (1 - LEVEL) / comparisons)
    return found.known and ends is not None and (ends[0] if sign > 0 else -ends[1]) > 0


def _by_seed(first: GroupRow, second: GroupRow) -> tuple[BySeed, BySeed]:
    """The values of both. Those of images that belong to no seed are repeated for every seed of the other row."""
    ours, theirs = first.values, second.values
    if first.fixed and not second.fixed:
        ours = dict.fromkeys(theirs, next(iter(ours.values())))
    if second.fixed and not first.fixed:
        theirs = dict.fromkeys(ours, next(iter(theirs.values())))
    return ours, theirs


def _less_is_better(metric: str) -> bool:
    from evaluation.metrics import METRICS

    return metric in LESS_IS_BETTER or (metric in METRICS and not METRICS.get(metric).higher_is_better)


def measured_since(rows: Iterable[R], when: str, store: Registry) -> list[R]:
    """The rows with a result of a run that stored something at `when` (ISO 8601, UTC) or later.

    Results that no run of this registry names count as old as their set.
    """
    found = store.measured_since(when)
    return [
        row
        for row in rows
        if any((each.id, *(getattr(row.cell, name) for name in _MEASURED)) in found for each in row.group.sets)
    ]


_MEASURED = ("protocol", "architecture", "memory", "recipe_id", "steps")
