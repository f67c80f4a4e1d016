"""Paired differences between the memories of a group, over condensation seeds and class orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from registry import Registry, ResultRow, SetRecord
from satm.statistics import FEWEST, Crossed, Estimate, common, crossed
from satm.workflow.incremental.naming import BASE, ORDERS

E = TypeVar("E", bound=Estimate)

STREAM_METRICS = ("final_accuracy", "average_incremental_accuracy")
SEEDS_AND_ORDERS = "new condensations and new class orders"
FEW_ORDERS = "these class orders only"

ByRepeat = dict[int, dict[int, float]]
"""Values by the seed of the condensation, then by the repeat (order + 1000 · network)."""


@dataclass(frozen=True, kw_only=True)
class MemoryDifference:
    """memory − other: the mean over condensation seeds and class orders of the difference of their order means."""

    protocol: str
    architecture: str
    recipe_id: str
    steps: int
    metric: str
    memory: str
    other: str
    policies: tuple[str, str]  # where the learning rates of the two come from
    estimate: Crossed  # its `networks` are class orders
    left_out: int  # differences of orders that not every seed has


def depends_on_seed(memory: str, sets: Sequence[SetRecord]) -> bool:
    """Whether a memory differs between the sets of a group.

    Condensed images do. Real images drawn at random are the same for every set. Those chosen by herding differ if the
    sets' experts have different seeds; of one set nobody can tell.
    """
    if memory.startswith("herding"):
        if len(sets) == 1:
            return True
        configs = [each.about.get("config", {}).get("condense", {}) for each in sets]
        return len({each.get("experts", {}).get("seed") for each in configs}) > 1
    return memory.startswith("condensed")


def order_means(values: Mapping[int, float]) -> dict[int, float]:
    """The mean of the networks of each class order, given the value of each repeat (order + 1000 · network)."""
    networks = defaultdict(list)
    for repeat, value in values.items():
        networks[repeat % ORDERS].append(value)
    return {order: fmean(found) for order, found in sorted(networks.items())}


def paired_by_order(values: Mapping[int, float], others: Mapping[int, float]) -> dict[int, float]:
    """d_o for each class order o: the mean over its networks of value − other, of the repeats that both have."""
    return order_means({repeat: values[repeat] - others[repeat] for repeat in values.keys() & others.keys()})


def in_orders(found: E) -> E:
    """The same estimate in the words of streams: class orders are in the place of networks."""
    if not isinstance(found, Crossed) or found.counts != "condensations":
        return replace(found, counts="orders")
    return replace(found, scope=SEEDS_AND_ORDERS if found.networks >= FEWEST else FEW_ORDERS)


def difference(by_seed: Mapping[int, Mapping[int, float]]) -> tuple[Crossed, int] | None:
    """The mean of d[s, o], by seed s and class order o, and the number of values left out; None if nothing is common.

    The standard error is that of `satm.statistics.crossed` with class orders in the place of networks: n counts the
    condensations. For one set n counts its class orders, and the scope is "this set only". Fewer than three orders have
    no standard error.
    """
    paired = {seed: orders for seed, orders in by_seed.items() if orders}
    if not paired or not set.intersection(*(set(orders) for orders in paired.values())):
        return None
    table = common(paired)
    found = in_orders(crossed(table.tables[0]))
    if found.networks < FEWEST:
        found = replace(found, se=None, freedom=None)
    return found, table.left_out


def memory_differences(registry: Path | str, reference: str) -> list[MemoryDifference]:
    """Every condensed memory of a set or group against every other, on the same protocol, network and recipe.

    A memory that does not depend on the seed is compared with the condensed memory of every seed. Raises the errors of
    `Registry.group`.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        sets = store.group(reference).sets
        return [found for rows in _comparable(store, sets) for found in _differences(rows, sets)]


def without_partner(registry: Path | str, reference: str) -> list[tuple[str, str]]:
    """The condensed memories and others that have one protocol, but no recipe and no policy of the rate in common."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        found: dict[tuple[str, str, int], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for rows in _comparable(store, store.group(reference).sets):
            for _, row in rows:
                found[row.protocol, row.architecture, row.steps][row.memory].add(row.recipe_id)
    return [
        (memory, other)
        for recipes in found.values()
        for memory, other in _pairs(recipes)
        if not recipes[memory] & recipes[other]
    ]


Rows = list[tuple[int, ResultRow]]
"""Result rows, each with the seed of its set."""


def _comparable(store: Registry, sets: Sequence[SetRecord]) -> list[Rows]:
    """The rows of the sets that may be compared: of one protocol, network, recipe, length and metric."""
    found: dict[tuple[str, str, str, int, str], Rows] = defaultdict(list)
    for record in sets:
        for row in store.results(set=record.id, protocol=BASE):
            if row.metric in STREAM_METRICS:
                key = (row.protocol, row.architecture, row.recipe_id, row.steps, row.metric)
                found[key].append((record.seed, row))
    return list(found.values())


def _pairs(memories: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Each condensed memory with each other memory, condensed ones first."""
    ours = sorted(memories, key=lambda name: (not name.startswith("condensed"), name))
    return ((memory, other) for memory, other in combinations(ours, 2) if memory.startswith("condensed"))


def _differences(rows: Rows, sets: Sequence[SetRecord]) -> Iterator[MemoryDifference]:
    values: dict[str, ByRepeat] = defaultdict(lambda: defaultdict(dict))
    policies: dict[str, str] = {}
    for seed, row in rows:
        values[row.memory][seed][row.repeat] = row.value
        policies[row.memory] = str(row.detail.get("policy", ""))
    like = rows[0][1]
    for memory, other in _pairs(values):
        ours, theirs = values[memory], values[other]
        if not depends_on_seed(other, sets):  # the set with the most networks speaks for all
            theirs = dict.fromkeys(ours, max(theirs.values(), key=len))
        found = difference({seed: paired_by_order(ours[seed], theirs[seed]) for seed in ours.keys() & theirs.keys()})
        if found is not None:
            yield MemoryDifference(
                protocol=like.protocol,
                architecture=like.architecture,
                recipe_id=like.recipe_id,
                steps=like.steps,
                metric=like.metric,
                memory=memory,
                other=other,
                policies=(policies[memory], policies[other]),
                estimate=found[0],
                left_out=found[1],
            )
