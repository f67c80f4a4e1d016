"""Computes the differences between the memories of a group in class-incremental streams.

A memory is what the networks of a stream keep: condensed or real images. Two memories are compared in pairs of the same
condensation seed and the same class order.
"""

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
LEARNED = ("condensed", "ssd")
"""How the names of memories with learned images begin. Differences are between them and all other memories."""
SEEDS_AND_ORDERS = "new condensations and new class orders"
FEW_ORDERS = "these class orders only"

ByRepeat = dict[int, dict[int, float]]
"""Values: seed of the condensation → repeat → value. A repeat is the number order + 1000 · network (`naming.py`)."""


@dataclass(frozen=True, kw_only=True)
class MemoryDifference:
    """The difference of a metric: `memory` minus `other`.

    The difference is a mean over condensation seeds and class orders. The value of a class order is the mean over the
    networks of the order.
    """

    protocol: str
    architecture: str
    recipe_id: str
    steps: int
    metric: str
    memory: str
    other: str
    policies: tuple[str, str]  # how the learning rate was found, with `memory` and with `other`
    estimate: Crossed  # the mean difference and its standard error; `networks` is the number of class orders
    left_out: int  # the number of differences that are not used, because not every seed has their class order


def depends_on_seed(memory: str, sets: Sequence[SetRecord]) -> bool:
    """Return whether a memory differs between the sets of a group. `memory` is its name in results.

    Condensed images differ. Online memories, and real images that are drawn at random, are the same for every set. Real
    images that are chosen by herding differ if the experts of the sets have different seeds. For a single set this
    cannot be seen, and True is returned.
    """
    if memory.startswith("herding"):
        if len(sets) == 1:
            return True
        configs = [each.about.get("config", {}).get("condense", {}) for each in sets]
        return len({each.get("experts", {}).get("seed") for each in configs}) > 1
    return memory.startswith("condensed")


def order_means(values: Mapping[int, float]) -> dict[int, float]:
    """Return, by class order, the mean over the networks of the order.

    `values` has the value of each repeat, which is the number order + 1000 · network.
    """
    networks = defaultdict(list)
    for repeat, value in values.items():
        networks[repeat % ORDERS].append(value)
    return {order: fmean(found) for order, found in sorted(networks.items())}


def paired_by_order(values: Mapping[int, float], others: Mapping[int, float]) -> dict[int, float]:
    """Return, by class order, the mean over its networks of the value in `values` minus the value in `others`.

    Only repeats that both have are used.
    """
    return order_means({repeat: values[repeat] - others[repeat] for repeat in values.keys() & others.keys()})


def in_orders(found: E) -> E:
    """Return the same estimate with texts for streams: they say "orders" where the texts of `found` say "networks"."""
    if not isinstance(found, Crossed) or found.counts != "condensations":
        return replace(found, counts="orders")
    return replace(found, scope=SEEDS_AND_ORDERS if found.networks >= FEWEST else FEW_ORDERS)


def difference(by_seed: Mapping[int, Mapping[int, float]]) -> tuple[Crossed, int] | None:
    """Return the mean of the differences d[s, o] by seed s and class order o, and the number of values left out.

    A class order is left out if not every seed has it. Returns None if the seeds have no class order in common. The
    standard error is that of `satm.statistics.crossed`, with class orders in place of networks; n is the number of
    condensations. For a single set n is the number of class orders, and the scope is "this set only". With fewer than
    three class orders there is no standard error.
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
    """Compare every learned memory (condensed, or ssd) of a set or group with every other memory.

    `reference` names the set or group. Two memories are compared on the same protocol, network and recipe. A memory
    that does not depend on the seed is compared with the condensed memory of every seed. Raises the errors of
    `Registry.group`.
    """
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        sets = store.group(reference).sets
        return [found for rows in _comparable(store, sets) for found in _differences(rows, sets)]


def without_partner(registry: Path | str, reference: str) -> list[tuple[str, str]]:
    """Return pairs of memories that cannot be compared: a learned memory and another memory of the same protocol.

    They have results on the same protocol, architecture and number of steps, but not under the same recipe. The policy
    of the learning rate is a part of the recipe.
    """
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
    """Return lists of rows that may be compared.

    The rows of one list agree in protocol, architecture, recipe, number of steps and metric.
    """
    found: dict[tuple[str, str, str, int, str], Rows] = defaultdict(list)
    for record in sets:
        for row in store.results(set=record.id, protocol=BASE):
            if row.metric in STREAM_METRICS:
                key = (row.protocol, row.architecture, row.recipe_id, row.steps, row.metric)
                found[key].append((record.seed, row))
    return list(found.values())


def _pairs(memories: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each pair of a learned memory (`LEARNED`) and another memory. A pair of two such memories comes once."""
    ours = sorted(memories, key=lambda name: (not name.startswith(LEARNED), name))
    return ((memory, other) for memory, other in combinations(ours, 2) if memory.startswith(LEARNED))


def _differences(rows: Rows, sets: Sequence[SetRecord]) -> Iterator[MemoryDifference]:
    values: dict[str, ByRepeat] = defaultdict(lambda: defaultdict(dict))
    policies: dict[str, str] = {}
    for seed, row in rows:
        values[row.memory][seed][row.repeat] = row.value
        policies[row.memory] = str(row.detail.get("policy", ""))
    like = rows[0][1]
    for memory, other in _pairs(values):
        ours, theirs = values[memory], values[other]
        # If the other memory is the same for every set, only the results of the set with the most networks are used.
        if not depends_on_seed(other, sets):
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
