"""Rank correlations by hand, and the bootstrap interval of Kendall's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from satm.errors import ConfigError
from satm.statistics import kendall_interval, rank_correlation


def tables(truth, rng, seeds=5, networks=5):
    """[k, S, R] around `truth`: shared networks, sd 1 between condensations, 0.5 for the rest."""
    k = len(truth)
    return (
        np.asarray(truth, dtype=float)[:, None, None]
        + rng.standard_normal((1, 1, networks))
        + rng.standard_normal((k, seeds, 1))
        + 0.5 * rng.standard_normal((k, seeds, networks))
    )


def test_the_interval_covers_the_order_of_the_true_means():
    """Six things, the last two exchanged by the second measure: tau = 13/15."""
    rng = np.random.default_rng(1)
    first, second = [0, 2, 4, 6, 8, 8.5], [0, 2, 4, 6, 8.5, 8]
    truth = kendalltau(first, second).statistic
    assert truth == pytest.approx(13 / 15)
    covered, widths = [], []
    for _ in range(100):
        low, high = kendall_interval(tables(first, rng), tables(second, rng, networks=3), rng, draws=200)
        covered.append(low - 1e-9 <= truth <= high + 1e-9)
        widths.append(high - low)
    assert np.mean(covered) >= 0.9
    assert 0.05 < np.mean(widths) < 0.4


def test_the_things_of_one_order_and_noise():
    rng = np.random.default_rng(2)
    far = tables([0, 50, 100, 150], rng)
    assert kendall_interval(far, far, rng, draws=100) == (1.0, 1.0)
    assert kendall_interval(far, -far, rng, draws=100) == (-1.0, -1.0)
    low, high = kendall_interval(tables([0] * 4, rng), tables([0] * 4, rng), rng)
    assert low < 0 < high


def test_without_spread_it_is_taub_itself():
    first, second = [1, 2, 2, 3], [1, 2, 3, 4]
    same = [np.broadcast_to(np.array(each, float)[:, None, None], (4, 3, 2)) for each in (first, second)]
    low, high = kendall_interval(*same, np.random.default_rng(3), draws=10)
    assert low == high == pytest.approx(5 / math.sqrt(30))


def test_seeds_are_drawn_and_so_are_networks():
    """Spread between seeds alone, or between networks alone, makes the interval wide; both measures share the seeds."""
    rng = np.random.default_rng(4)
    means = np.arange(4.0)
    by_seed = means[:, None, None] + 4 * rng.standard_normal((4, 5, 1)) + np.zeros((4, 5, 5))
    by_network = means[:, None, None] + 4 * rng.standard_normal((4, 1, 5)) + np.zeros((4, 5, 5))
    fixed = means[:, None, None] + np.zeros((4, 5, 5))
    for noisy in (by_seed, by_network):
        low, high = kendall_interval(noisy, fixed, rng, draws=500)
        assert high - low > 0.5
    assert kendall_interval(by_seed, by_seed, rng, draws=100) == (1.0, 1.0)  # the same seeds in both measures
    low, high = kendall_interval(by_network, by_network, rng, draws=100)  # each measure has networks of its own
    assert low < 1


def test_the_generator_decides():
    rng = np.random.default_rng(5)
    a, b = tables([0, 1, 2, 3], rng), tables([0, 1, 2, 3], rng)
    first = kendall_interval(a, b, np.random.default_rng(1), draws=50)
    assert first == kendall_interval(a, b, np.random.default_rng(1), draws=50)


def test_too_little_for_an_interval():
    rng = np.random.default_rng(6)
    assert kendall_interval(np.zeros((2, 5, 5)), np.zeros((2, 5, 5)), rng) is None
    assert kendall_interval(tables([1, 2, 3], rng, seeds=2), tables([1, 2, 3], rng, seeds=2), rng) is None
    assert kendall_interval(np.zeros((4, 5, 5)), np.zeros((4, 5, 5)), rng) is None  # all tied
    with pytest.raises(ConfigError, match=r"\[3, 5, 5\] and \[4, 5, 5\]"):
        kendall_interval(np.zeros((3, 5, 5)), np.zeros((4, 5, 5)), rng)


def test_rank_correlations_by_hand():
    """One of six pairs is reversed: tau = (5 − 1)/6; Spearman's 1 − 6 Σd²/(n(n² − 1)) with d = 1, 1."""
    found = rank_correlation([1, 2, 3, 4], [10, 20, 40, 30])
    assert found.kendall == pytest.approx(4 / 6)
    assert found.spearman == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found.p == pytest.approx(8 / 24)  # |tau| ≥ 4/6: 1 + 3 of the 24 orders in each direction
    same = rank_correlation([1, 2, 3, 4, 5], [2, 3, 5, 7, 11])
    assert (same.spearman, same.kendall, same.n) == (pytest.approx(1), pytest.approx(1), 5)
    assert same.p == pytest.approx(2 / 120)
    tied = rank_correlation([1, 2, 2, 3], [1, 2, 3, 4])  # tau-b: 5/√(5·6)
    assert tied.kendall == pytest.approx(5 / math.sqrt(30))


def test_too_few_or_equal_things_have_no_order():
    for first, second in (([1, 2], [1, 2]), ([], []), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [1, 1, 1])):
        found = rank_correlation(first, second)
        assert (found.spearman, found.kendall, found.p, found.n) == (None, None, None, len(first))
    with pytest.raises(ConfigError, match="2 and 3 values"):
        rank_correlation([1, 2], [1, 2, 3])
