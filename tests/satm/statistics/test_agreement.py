"""McNemar's test by hand, by statsmodels, and its false-positive rate."""

from __future__ import annotations

import numpy as np
import pytest

from satm.errors import ConfigError
from satm.statistics import mcnemar


def test_by_hand():
    """Four images on which one is right, one on which the other is: p = 2·(1 + 5)/2⁵."""
    truth = np.arange(10)
    first, second = truth.copy(), truth.copy()
    first[0] = second[1:5] = -1
    first[9] = second[9] = -1
    found = mcnemar(first, second, truth)
    assert (found.both, found.only_first, found.only_second, found.neither) == (4, 4, 1, 1)
    assert found.p == pytest.approx(12 / 32)
    assert found.difference == pytest.approx(0.3)


def test_statsmodels_agrees():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    rng = np.random.default_rng(1)
    truth, first, second = rng.integers(0, 2, (3, 200))
    found = mcnemar(first, second, truth)
    table = [[found.both, found.only_first], [found.only_second, found.neither]]
    assert found.p == pytest.approx(tables.mcnemar(table, exact=True).pvalue)


def test_equal_networks_rarely_differ():
    rng = np.random.default_rng(2)
    truth = np.zeros(150, dtype=int)
    p = [mcnemar(*(rng.random((2, 150)) < 0.2).astype(int), truth).p for _ in range(400)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.06


def test_same_predictions_and_bad_input():
    same = mcnemar([1, 2, 3], [1, 2, 3], [1, 1, 3])
    assert (same.p, same.difference, same.both, same.neither) == (1.0, 0.0, 2, 1)
    with pytest.raises(ConfigError, match=r"shapes \[2\], \[3\] and \[3\]"):
        mcnemar([1, 2], [1, 2, 3], [1, 2, 3])
    with pytest.raises(ConfigError, match="every test image"):
        mcnemar([], [], [])
