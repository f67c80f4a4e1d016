"""The mean accuracy of networks within class orders, or of networks that were each trained on newly drawn images."""

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
    """The mean of y [A, R]: A class orders, R networks for each class order, and one value for each network.

    The last two fields are standard deviations, estimated as components of variance by the method of moments. They are
    at least 0, and None if the table has too few orders or networks to estimate them.
    """

    orders: int  # A
    networks: int  # R, the networks of one order
    between_orders: float | None
    between_networks: float | None  # between the networks of one order


def nested(y: npt.ArrayLike) -> Nested:
    """The mean of y [A, R] over class orders: SE² = s²/A, with s² the sample variance of the means of the A orders.

    It has A − 1 degrees of freedom. The networks of one order share this order. If the images that a stream keeps for
    replay are drawn at random, they share this draw, too. So their values are not independent, and only the number of
    orders decides SE. With one order, `n` is the number of its networks, and the scope is "this order only".

    Raises ConfigError for orders with different numbers of networks, because an order with more networks would have
    more weight in the mean.
    """
    table = checked(
        y, dimensions=2, shape="a table [class orders, networks], the same number of networks for each order"
    )
    orders, networks = table.shape
    means = table.mean(axis=1)
    within = [spread(row) ** 2 for row in table.tolist()] if networks > 1 else []
    inside = sum(within) / orders if within else None  # the mean variance between the networks of one order
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
    """The mean of the values of n networks, each of which was trained on a new draw of random images.

    SE² = s²/n, with s² the sample variance of the values, and n − 1 degrees of freedom. The networks share nothing, so
    their values are independent. Raises ConfigError if there are no values.
    """
    return sample(values, counts="draws", scope=DRAWS)
