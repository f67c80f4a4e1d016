"""Paired differences between the memories of one set, over class orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean

from registry import Registry, ResultRow
from satm.statistics import Interval, paired_interval
from satm.workflow.incremental.rows import BASE, ORDERS

METRICS = ("final_accuracy", "average_incremental_accuracy")


@dataclass(frozen=True, kw_only=True)
class MemoryDifference:
    """memory − other, the mean over class orders of the difference of their order means."""

    protocol: str
    architecture: str
    recipe_id: str
    steps: int
    metric: str
    memory: str
    other: str
    policies: tuple[str, str]  # where the learning rates of the two come from
    interval: Interval  # n counts class orders


def order_means(values: Mapping[int, float]) -> dict[int, float]:
    """The mean of the networks of each class order, given the value of each repeat (order + 1000 · network)."""
    networks = defaultdict(list)
    for repeat, value in values.items():
        networks[repeat % ORDERS].append(value)
    return {order: fmean(found) for order, found in sorted(networks.items())}


def paired_by_order(values: Mapping[int, float], others: Mapping[int, float]) -> Interval | None:
    """The mean difference over class orders, of the repeats that both have; None if they share none.

    d_o is the mean over the networks of order o of value − other. The interval is the t-interval of the d_o, with
    A − 1 degrees of freedom for A orders. It is infinite for one order.
    """
    shared = values.keys() & others.keys()
    if not shared:
        return None
    one, two = ({repeat: each[repeat] for repeat in shared} for each in (values, others))
    return paired_interval(list(order_means(one).values()), list(order_means(two).values()))


def memory_differences(registry: Path | str, reference: str) -> list[MemoryDifference]:
    """Every condensed memory of a set against every other memory, on the same protocol, network and recipe."""
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        return _differences([row for row in store.results(set=reference, protocol=BASE) if row.metric in METRICS])


def _differences(rows: Sequence[ResultRow]) -> list[MemoryDifference]:
    values: dict[tuple[str, str, str, int, str], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    policies = {}
    for row in rows:
        key = (row.protocol, row.architecture, row.recipe_id, row.steps, row.metric)
        values[key][row.memory][row.repeat] = row.value
        policies[key, row.memory] = str(row.detail.get("policy", ""))
    found = []
    for key, memories in values.items():
        ours = sorted(memories, key=lambda name: (not name.startswith("condensed"), name))
        for memory, other in combinations(ours, 2):
            between = paired_by_order(memories[memory], memories[other])
            if between is None or not memory.startswith("condensed"):
                continue
            protocol, architecture, recipe_id, steps, metric = key
            found.append(
                MemoryDifference(
                    protocol=protocol,
                    architecture=architecture,
                    recipe_id=recipe_id,
                    steps=steps,
                    metric=metric,
                    memory=memory,
                    other=other,
                    policies=(policies[key, memory], policies[key, other]),
                    interval=between,
                )
            )
    return found
