"""Means of networks within class orders, and of networks that were each trained on a random draw of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from satm.statistics.estimate import Estimate, center, checked, sample, spread

if TYPE_CHECKING:
    import numpy.typing as npt

THIS_ORDER = "this order only"
ORDERS = "new class orders"
DRAWS = "new draws"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested(Estimate):
    """The mean of y [A, R], one value of each network: A class orders, and R networks for each order.

    The standard deviations are components of variance by the method of moments, at least 0; None if the design cannot
    tell them.
    """

    orders: int  # A
    networks: int  # R, of one order
    between_orders: float | None
    between_networks: float | None  # of one order


def nested(y: npt.ArrayLike) -> Nested:
    """The mean of y [A, R] over class orders: SE² = s²/A with s² the sample variance of the A order means; A − 1 df.

    Networks of one order share the order and, with a random memory, the draw. So they are no independent values: only
    orders count. For one order `n` counts its networks, and the scope is "this order only".

    Raises ConfigError for orders with different numbers of networks: pooled values would give an order with more
    networks more weight.
    """
    table = checked(
        y, dimensions=2, shape="a table [class orders, networks], the same number of networks for each order"
    )
    orders, networks = table.shape
    means = table.mean(axis=1)
    within = [spread(row) ** 2 for row in table.tolist()] if networks > 1 else []
    inside = sum(within) / orders if within else None  # mean square within orders
    outside = None if orders == 1 or inside is None else max(spread(means.tolist()) ** 2 - inside / networks, 0.0)
    found = (
        sample(table[0], counts="networks", scope=THIS_ORDER)
        if orders == 1
        else sample(means, counts="orders", scope=ORDERS)
    )
    return Nested(
        mean=center(table.ravel().tolist()),
        se=found.se,
        freedom=found.freedom,
        n=found.n,
        counts=found.counts,
        scope=found.scope,
        orders=orders,
        networks=networks,
        between_orders=None if outside is None else outside**0.5,
        between_networks=None if inside is None else inside**0.5,
    )


def fresh_draws(values: npt.ArrayLike) -> Estimate:
    """The mean of n networks that were each trained on a fresh draw of random images: SE² = s²/n, n − 1 df.

    Nothing is shared, so every network is an independent value. Raises ConfigError if there are no values.
    """
    return sample(values, counts="draws", scope=DRAWS)
