"""Means over class orders and over fresh draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from satm.errors import ConfigError
from satm.statistics import fresh_draws, nested
from tests.satm.statistics.simulation import MEAN, coverage


def test_by_hand():
    """Order means 2, 4, 9: s² = 13, SE² = 13/3. Within orders s² = 2, 2, 8: mean 4. Between: 13 − 4/2 = 11."""
    found = nested([[1, 3], [3, 5], [7, 11]])
    assert (found.mean, found.n, found.counts, found.freedom) == (5, 3, "orders", 2)
    assert found.se == pytest.approx(math.sqrt(13 / 3))
    assert found.between_networks == pytest.approx(2)
    assert found.between_orders == pytest.approx(math.sqrt(11))
    assert (found.orders, found.networks, found.scope) == (3, 2, "new class orders")
    assert found.high == pytest.approx(5 + 4.302653 * math.sqrt(13 / 3))


@pytest.mark.parametrize("share", [0.0, 0.84, 0.96])
def test_coverage_of_a_nested_design(share):
    """`share` is the intraclass correlation: 0.84 for condensed memories, 0.96 for random ones (digits)."""
    rng = np.random.default_rng(5)
    y = MEAN + math.sqrt(share) * rng.standard_normal((2000, 5, 1))
    y = y + math.sqrt(1 - share) * rng.standard_normal((2000, 5, 3))
    found = [nested(table) for table in y[:1000]]
    covered = np.mean([each.low <= MEAN <= each.high for each in found])
    assert 0.93 <= covered <= 0.97
    pooled = coverage(y.mean(axis=(1, 2)), y.reshape(2000, 15).std(axis=1, ddof=1) / math.sqrt(15), 14)
    assert (pooled < 0.8) == (share > 0)  # 15 networks as independent values, as it was


def test_fresh_draws_are_independent_values():
    rng = np.random.default_rng(6)
    y = MEAN + 0.1 * rng.standard_normal((1000, 5))
    found = [fresh_draws(values) for values in y]
    assert 0.93 <= np.mean([each.low <= MEAN <= each.high for each in found]) <= 0.97
    assert (found[0].n, found[0].counts, found[0].freedom) == (5, "draws", 4)
    assert found[0].se == pytest.approx(y[0].std(ddof=1) / math.sqrt(5))


def test_one_order_speaks_of_itself_only():
    found = nested([[0.1, 0.2, 0.3]])
    assert (found.scope, found.n, found.counts) == ("this order only", 3, "networks")
    assert (found.between_orders, found.between_networks) == (None, pytest.approx(0.1))
    single = nested([[0.5]])
    assert (single.se, single.low, single.between_orders, single.between_networks) == (None, None, None, None)
    once = nested([[0.1], [0.2], [0.3]])  # one network an order: its spread is in the orders'
    assert (once.se, once.between_orders) == (pytest.approx(0.1 / math.sqrt(3)), None)


def test_degenerate_and_unbalanced_designs():
    assert (nested([[0.1, 0.1]] * 3).se, nested([[0.1, 0.1]] * 3).between_orders) == (0, 0)
    assert nested([[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]]).between_orders == 0  # never below 0
    assert nested([[0.1, 0.2], [0.3, 0.4]]).low is None  # two orders
    with pytest.raises(ConfigError, match="rows of different lengths"):
        nested([[0.1, 0.2], [0.3]])
    with pytest.raises(ConfigError, match="no values"):
        fresh_draws([])
