"""Chooses the headlines of sets and the best sets of the leaderboard.

A headline is the number of a set that a reader looks at first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from registry import Registry
from satm.errors import ConfigError
from satm.workflow.grouped import HEADLINES, BySeed, Cell, GroupRow, PendingRow

R = TypeVar("R", bound=GroupRow | PendingRow)

# The metrics that can be a headline, in the order of preference: of single networks, and of class-incremental streams.
NETWORK_HEADLINES = (HEADLINES[0], "label_robust_score", "augmentation_robust_score")
STREAM_HEADLINES = HEADLINES[::-1]
ORDER = ("in-domain", "cross-arch")  # the protocols that are listed first
PARTS = "corruptions/"  # the names of the protocols of single corruptions begin with this text
# The metrics of streams of which a smaller value is better. For metrics of single networks, METRICS says it.
LESS_IS_BETTER = ("forgetting", "old_class_drop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The row with the best mean among rows that may be compared with each other."""

    row: GroupRow
    of: int  # the number of rows that were compared, with this one
    rivals: tuple[GroupRow, ...]  # the other rows that are not shown to be worse than `row`


def is_headline(cell: Cell) -> bool:
    """Return whether the metric of the cell is the first headline: accuracy, or final accuracy in a stream."""
    return cell.metric == _headlines(cell)[0]


def headlines(rows: Iterable[R]) -> list[R]:
    """Return one row for each group, protocol, architecture, memory, recipe, profile, policy and number of steps.

    This is the row of the accuracy or, in a class-incremental stream, of the final accuracy. If there is no such row,
    it is a row of another metric. In a stream it is a row of the last step. Results on single corruptions are left out;
    only the mean over the corruptions is a headline. The groups stay in their order. Within a group, in-domain results
    come first and results of streams last.
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
    """Return the best row of each part of the leaderboard. `rows` are headlines.

    The rows of a part agree in data set, IPC, architecture, protocol, profile, recipe, policy, number of steps and
    metric. Rows of different parts are never compared.

    A row is a rival of the best row if it is not shown that the best row is better. The level of significance is
    corrected for the number of comparisons in the part. Two rows are compared in pairs of the same condensation seed
    and the same network, as in `satm.statistics.compare`. Real images that do not depend on the seed are compared with
    every condensation, network by network. A row with fewer than three seeds in common with the best row is always a
    rival, because nothing can be shown.
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
    """Return whether `first` is shown to be better than `row`, at a level corrected for the number of `comparisons`.

    Only rows for which this is shown are no rivals of `first`. `sign` is 1 if a larger value is better, and -1 if a
    smaller value is better.
    """
    from satm.statistics import FEWEST, LEVEL, common, compare

    better, worse = _by_seed(first, row)
    if len(better.keys() & worse.keys()) < FEWEST:
        return False
    try:
        table = common(better, worse)
    except ConfigError:  # the two rows have no network in common
        return False
    found = compare(table.tables[0], table.tables[1])
    ends = found.difference.ends(1 - 2 * (1 - LEVEL) / comparisons)
    return found.known and ends is not None and (ends[0] if sign > 0 else -ends[1]) > 0


def _by_seed(first: GroupRow, second: GroupRow) -> tuple[BySeed, BySeed]:
    """Return the values of both rows, ready to be compared seed by seed.

    If the images of one row do not depend on the seed, its values are repeated for every seed of the other row.
    """
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
    """Return the rows with a result whose run stored something at the time `when` (ISO 8601, UTC) or later.

    If the run of a result is not in this registry, the time at which its set was stored is used.
    """
    found = store.measured_since(when)
    return [
        row
        for row in rows
        if any((each.id, *(getattr(row.cell, name) for name in _MEASURED)) in found for each in row.group.sets)
    ]


_MEASURED = ("protocol", "architecture", "memory", "recipe_id", "steps")
