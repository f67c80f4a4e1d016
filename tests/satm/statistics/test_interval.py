"""Student's intervals, against tables and closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satm.errors import ConfigError
from satm.statistics import difference_interval, half_width, interval, paired_interval

T = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445}  # 97.5% quantiles, from a printed table
numbers = st.lists(st.floats(-1, 1), min_size=2, max_size=8)


def test_the_interval_is_students():
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.mean, found.n) == (3.0, 5)
    assert found.std == pytest.approx(math.sqrt(2))
    assert found.half == pytest.approx(T[4] * math.sqrt(2.5) / math.sqrt(5), rel=1e-6)
    assert (found.low, found.high) == (found.mean - found.half, found.mean + found.half)
    assert half_width(found.std, 5) == found.half
    assert (interval([0.5]).half, interval([0.5]).std) == (math.inf, 0.0)
    with pytest.raises(ConfigError, match="no values"):
        interval([])


def test_the_spread_that_pairs_share_cancels():
    found = paired_interval([0.3, 0.5, 0.4], [0.1, 0.2, 0.2])
    assert found.mean == pytest.approx(0.7 / 3)
    assert found.half == pytest.approx(T[2] * math.sqrt(0.01 / 3) / math.sqrt(3), rel=1e-5)
    shifted = paired_interval([10.1, 0.2, 5.3], [10.0, 0.1, 5.2])
    assert shifted.mean == pytest.approx(0.1)
    assert shifted.half == pytest.approx(0, abs=1e-12)
    with pytest.raises(ConfigError, match="2 values and 1 others"):
        paired_interval([1.0, 2.0], [1.0])


def test_welchs_interval_of_unpaired_samples():
    """Equal sizes and variances: 2(n − 1) degrees of freedom and a standard error of s √(2/n)."""
    found = difference_interval([1.0, 2.0, 3.0], [5.0, 6.0, 7.0])
    assert found.mean == -4
    assert found.half == pytest.approx(T[4] * math.sqrt(2 / 3), rel=1e-6)
    lopsided = difference_interval([1.0, 2.0, 3.0], [5.0] * 9)  # only the first varies: its 2 degrees of freedom
    assert lopsided.half == pytest.approx(T[2] / math.sqrt(3), rel=1e-6)
    assert difference_interval([1.0], [2.0, 3.0]).half == math.inf
    assert difference_interval([1.0, 1.0], [2.0, 2.0]).half == 0


@given(numbers, st.floats(-5, 5))
def test_a_shift_moves_an_interval_and_changes_nothing_else(values, shift):
    moved, here = interval([value + shift for value in values]), interval(values)
    assert moved.mean == pytest.approx(here.mean + shift, abs=1e-9)
    assert moved.half == pytest.approx(here.half, abs=1e-7)
