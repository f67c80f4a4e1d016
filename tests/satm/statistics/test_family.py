"""Families of comparisons: Holm against statsmodels, error rates by simulation, and Demšar's printed example."""

from __future__ import annotations

import numpy as np
import pytest

from satm.errors import ConfigError
from satm.statistics import Verdict, against_control, all_pairs, compare, corrected, holm, may_be_best, rank_test

HOLDS = (Verdict.HOLDS, Verdict.AT_LEAST)


def methods(means: list[float], rng: np.random.Generator, seeds: int = 5) -> dict[str, np.ndarray]:
    """Tables of methods that share networks: [S, 5], sd 1 between condensations."""
    networks = rng.standard_normal((1, 5))
    return {
        name: mean + networks + rng.standard_normal((seeds, 1)) + 0.3 * rng.standard_normal((seeds, 5))
        for name, mean in zip("abcdef", means, strict=False)
    }


def test_holm_by_hand_and_by_statsmodels():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(1).random(12) ** 3
    assert holm(list(p)) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_one_false_claim_in_a_family_is_rare():
    """Six equal methods have 15 pairs: uncorrected, some pair "holds" in a third of the families."""
    rng = np.random.default_rng(2)
    families = [all_pairs(methods([0.0] * 6, rng), 1.0) for _ in range(60)]
    assert np.mean([any(each.verdict in HOLDS for each in family) for family in families]) <= 0.12
    assert np.mean([any(each.comparison.verdict in HOLDS for each in family) for family in families]) > 0.2


def test_true_differences_hold_with_the_better_first():
    found = all_pairs(methods([0, 20, 40], np.random.default_rng(3)), 1.0)
    assert [(each.first, each.second) for each in found] == [("c", "b"), ("c", "a"), ("b", "a")]
    assert all(each.verdict is Verdict.AT_LEAST for each in found)
    assert [each.p for each in found] == pytest.approx(holm([each.comparison.p for each in found]))


def test_holm_decides_what_holds_and_the_wider_interval_the_rest():
    groups = {"a": np.zeros((5, 3)), "b": np.zeros((5, 3)), "c": np.zeros((5, 3))}
    spread = np.array([[-1.0], [-0.5], [0], [0.5], [1]])  # SE 0.3536, 4 df
    groups["a"] = groups["a"] + 1.0 + spread  # p = 0.047: Holm's 0.093
    groups["b"] = groups["b"] + 3.0 + spread  # p = 0.001
    a, b = against_control(groups, "c", 0.01)
    assert (a.first, a.second, b.first) == ("a", "c", "b")
    assert a.comparison.verdict is Verdict.AT_LEAST
    assert (a.p, a.verdict) == (pytest.approx(a.comparison.p), Verdict.HOLDS)  # the last step of Holm's: times 1
    assert b.p == pytest.approx(2 * b.comparison.p)
    groups["b"] = groups["a"]
    a, b = against_control(groups, "c", 0.01)
    assert a.p == pytest.approx(2 * a.comparison.p)
    assert a.verdict is Verdict.CANNOT_TELL


def test_all_methods_against_a_control():
    rng = np.random.default_rng(4)
    found = against_control(methods([0, 0, 30, 0], rng), "a", 1.0)
    assert [each.first for each in found] == ["b", "c", "d"]
    assert [each.verdict in HOLDS for each in found] == [False, True, False]
    with pytest.raises(ConfigError, match=r"control 'z': expected one of a, b"):
        against_control(methods([0, 0], rng), "z")
    with pytest.raises(ConfigError, match="1 methods"):
        all_pairs({"a": np.zeros((3, 3))})
    with pytest.raises(ConfigError, match="1 methods"):
        against_control({"a": np.zeros((3, 3))}, "a")


def test_the_best_method_stays_in_the_set():
    """One method is best by half a standard deviation: it is in the set in at least 95% of simulations."""
    rng = np.random.default_rng(5)
    sets = [may_be_best(methods([0.5, 0, 0, 0], rng)) for _ in range(100)]
    assert np.mean(["a" in each for each in sets]) >= 0.95
    sets = [may_be_best(methods([0.0, 0, 0, 0], rng)) for _ in range(100)]
    assert 0.8 < np.mean(["a" in each for each in sets]) < 1  # the bound is near, not idle


def test_the_set_by_hand():
    """d̄ = t(1 − 0.05/(k − 1)) · SE is the border; SE 0.3536 with 4 df: 0.754 for two methods, 0.982 for three."""
    spread = np.array([[-1.0], [-0.5], [0], [0.5], [1]]) + np.zeros((5, 3))
    zero = np.zeros((5, 3))
    assert may_be_best({"a": zero, "b": spread + 0.75}) == ("a", "b")
    assert may_be_best({"a": zero, "b": spread + 0.76}) == ("b",)
    assert may_be_best({"a": zero, "b": spread + 0.98, "c": zero - 9}) == ("a", "b")
    assert may_be_best({"a": zero, "b": spread + 0.99, "c": zero - 9}) == ("b",)
    assert may_be_best({"a": zero}) == ("a",)
    assert may_be_best({"a": zero[:1], "b": zero[:1] + 1}) == ("a", "b")  # single sets show nothing


def test_single_sets_have_no_p_in_a_family():
    (found,) = all_pairs({"a": np.zeros((1, 3)), "b": np.ones((1, 3))})
    assert (found.first, found.p, found.verdict) == ("b", None, Verdict.CANNOT_TELL)
    assert compare(np.ones((1, 3)), np.zeros((1, 3))).p is None


def test_friedman_and_nemenyi():
    """Critical values of Demšar (2006), table 5(a): 2.343, 2.569 and 2.728 for 3, 4 and 5 methods."""
    scores = [[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.9, 0.6, 0.7], [0.5, 0.4, 0.3]]
    found = rank_test(scores)
    assert found.ranks == (1, 2.25, 2.75)
    assert found.critical == pytest.approx(2.343 * (3 * 4 / (6 * 4)) ** 0.5, abs=1e-3)
    assert found.statistic == pytest.approx(12 * 4 / (3 * 4) * (1 + 2.25**2 + 2.75**2 - 3 * 16 / 4))
    assert found.p == pytest.approx(np.exp(-found.statistic / 2))  # chi-squared with 2 df
    rng = np.random.default_rng(6)
    for count, quantile in ((4, 2.569), (5, 2.728)):
        critical = rank_test(rng.random((14, count))).critical
        assert critical == pytest.approx(quantile * (count * (count + 1) / (6 * 14)) ** 0.5, abs=1e-3)
    tied = rank_test(np.ones((4, 3)))
    assert (tied.statistic, tied.p, tied.ranks) == (0, 1, (2, 2, 2))
    with pytest.raises(ConfigError, match="2 methods on 4 data sets"):
        rank_test(np.zeros((4, 2)))
    with pytest.raises(ConfigError, match="3 methods on 1 data sets"):
        rank_test(np.zeros((1, 3)))


def test_a_claim_of_equality_enters_holm_with_its_own_p():
    close = compare(0.5 + 0.001 * np.array([[1.0, 0], [-1, 0], [0, 0.1]]), np.full((3, 2), 0.5), 0.01, asks="equal")
    apart = compare(0.6 + 0.001 * np.array([[1.0, -1], [-1, 1], [0, 1]]), np.full((3, 2), 0.5), 0.01)
    members = corrected([("a", "b", close), ("a", "c", apart)])
    assert [each.p for each in members] == holm([close.p, apart.p])
    assert close.difference.p() > 0.5  # that of a difference would say nothing
    assert [each.verdict for each in members] == [Verdict.EQUIVALENT, Verdict.AT_LEAST]
