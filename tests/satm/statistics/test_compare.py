"""Verdicts on a paired difference: their rules, error rates by simulation, power, and too few condensations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import t as student

from satm.errors import ConfigError
from satm.statistics import Verdict, compare, crossed, seeds_needed
from tests.satm.statistics.simulation import crossed_tables

SPREAD = np.array([[-1.0, 0, 1], [0, 1, -1], [1, -1, 0]]) + np.array([[-1.0], [0], [1]])  # MS_S 3, MS_E 1.5: SE 0.577


def shifted(by: float, scale: float = 1.0):
    """A comparison whose difference is `by` ± `scale` · 4.302653 · 0.57735 (2 df)."""
    return compare(5 + by + scale * SPREAD, np.full((3, 3), 5.0), delta=1.0)


def test_the_difference_is_crossed_and_paired():
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((4, 5))
    first, second = shared + 0.1 * rng.standard_normal((4, 5)), shared
    found = compare(first, second, 0.5)
    assert found.difference == crossed(first - second)
    assert found.seed_means == pytest.approx((first - second).mean(axis=1))
    assert found.p == crossed(first - second).p()
    back = compare(second, first, 0.5)
    assert (back.difference.mean, back.p) == (pytest.approx(-found.difference.mean), pytest.approx(found.p))


def test_the_rules_of_the_verdict():
    """The interval's half-width is 2.484 times the scale, the 90% interval's 1.686 times."""
    found = shifted(0)
    assert found.difference.se == pytest.approx(1 / math.sqrt(3))
    assert found.difference.freedom == 2
    assert found.difference.high == pytest.approx(2.4841, abs=1e-4)
    cases = [
        (3.5, 1.0, Verdict.AT_LEAST),  # L = 1.016
        (3.4, 1.0, Verdict.HOLDS),  # L = 0.916
        (2.5, 1.0, Verdict.HOLDS),  # L = 0.016
        (2.4, 1.0, Verdict.CANNOT_TELL),
        (-1.4, 1.0, Verdict.CANNOT_TELL),  # U = 1.08
        (-1.5, 1.0, Verdict.DOES_NOT_HOLD),  # U = 0.98
        (0.0, 0.6, Verdict.CANNOT_TELL),  # 90%: ±1.01
        (0.0, 0.59, Verdict.EQUIVALENT),  # 90%: ±0.995, though U = 1.47
        (0.5, 0.1, Verdict.HOLDS),  # and equivalent
        (-0.5, 0.1, Verdict.EQUIVALENT),
    ]
    for by, scale, expected in cases:
        assert shifted(by, scale).verdict is expected, (by, scale)
    assert shifted(0.5, 0.1).equivalent
    assert not shifted(0.5, 1.0).equivalent
    assert str(Verdict.CANNOT_TELL) == "cannot tell"


@pytest.mark.parametrize(("seeds", "networks", "between"), [(3, 5, 0.3), (6, 5, 0.3), (6, 5, 2), (5, 2, 0), (5, 1, 0)])
def test_false_positives_under_no_difference(seeds, networks, between):
    """At most 2.5% "hold" if nothing differs, up to the simulation's error. Few networks speak of themselves only."""
    tables = crossed_tables(seeds, networks, (1, between, 1), 1500) - 0.7
    found = [compare(table, np.zeros_like(table), 1.0).verdict for table in tables]
    assert 0.005 <= np.mean([each in (Verdict.HOLDS, Verdict.AT_LEAST) for each in found]) <= 0.035


def test_two_seeds_of_one_method_are_not_told_apart():
    """Two sets of one method, 12 networks each: t over networks excludes 0 in half the cases; here none holds."""
    y = crossed_tables(2, 12, (4, 1.8, 3), 30)
    d = y[:, 0] - y[:, 1]
    naive = np.abs(d.mean(axis=1)) > student.ppf(0.975, 11) * d.std(axis=1, ddof=1) / math.sqrt(12)
    assert naive.sum() >= 12
    assert all(compare(first[None], second[None], 1.0).verdict is Verdict.CANNOT_TELL for first, second in y)


def test_power_is_that_of_the_simulation():
    """One network a seed: S = 6, sd 1, a true difference of 1."""
    tables = crossed_tables(6, 1, (1, 0, 0), 1500) - 0.7 + 1.0
    found = [compare(table, np.zeros_like(table), 1.0) for table in tables]
    holds = np.mean([each.verdict in (Verdict.HOLDS, Verdict.AT_LEAST) for each in found])
    exact = compare(np.array([[-1.0], [1], [-1], [1], [-1], [1]]) * math.sqrt(5 / 6), np.zeros((6, 1)), 1.0)  # sd 1
    assert holds == pytest.approx(exact.power, abs=0.03)


def test_power_and_seeds_of_the_plan():
    """Three seeds at sd = δ have a power of 0.18; ten are needed, and twenty at sd = 1.5 δ."""
    three = compare(np.array([[-1.0], [0], [1]]), np.zeros((3, 1)), 1.0)
    assert three.power == pytest.approx(0.18, abs=0.005)
    assert three.seeds_needed == 10
    assert (seeds_needed(1, 1), seeds_needed(1.5, 1), seeds_needed(0.015), seeds_needed(1e-6, 1)) == (10, 20, 20, 3)
    assert seeds_needed(1, 1, goal=0.9) == 13
    for std in (1, 1.5, 3, 6):
        seeds = seeds_needed(std, 1)
        formula = (student.ppf(0.975, seeds - 1) + student.ppf(0.8, seeds - 1)) ** 2 * std**2
        assert abs(seeds - formula) < 1


def test_few_networks_use_the_means_of_seeds():
    rng = np.random.default_rng(3)
    d = rng.standard_normal((5, 2))
    found = compare(d, np.zeros((5, 2)), 1.0).difference
    means = d.mean(axis=1)
    assert found.se == pytest.approx(means.std(ddof=1) / math.sqrt(5))
    assert (found.freedom, found.n, found.networks) == (4, 5, 2)
    assert found.scope == "new condensations, these networks only"
    three = compare(rng.standard_normal((5, 3)), np.zeros((5, 3)), 1.0).difference
    assert three.scope == "new condensations and new networks"


def test_sign_flips_are_all_tried():
    values = [0.3, 0.1, -0.05, 0.2, 0.4, 0.25]
    flipped = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=6)]
    by_hand = np.mean([each >= sum(values) - 1e-12 for each in flipped])
    found = compare(np.array(values)[:, None], np.zeros((6, 1)), 0.1)
    assert found.sign_flip_p == pytest.approx(by_hand)
    assert compare(np.ones((6, 1)), np.zeros((6, 1)), 0.1).sign_flip_p == pytest.approx(2 / 64)
    assert compare(np.ones((16, 1)), np.zeros((16, 1)), 0.1).sign_flip_p == pytest.approx(2 / 2**16)
    assert compare(np.ones((5, 1)), np.zeros((5, 1)), 0.1).sign_flip_p is None
    assert compare(np.ones((17, 1)), np.zeros((17, 1)), 0.1).sign_flip_p is None


def test_one_or_two_condensations_cannot_tell():
    for seeds in (1, 2):
        found = compare(np.ones((seeds, 5)) + np.arange(5) / 100, np.zeros((seeds, 5)), 0.01)
        assert found.verdict is Verdict.CANNOT_TELL
        assert (found.p, found.power, found.sign_flip_p, found.equivalent) == (None, None, None, False)
    single = compare(np.ones((1, 5)), np.zeros((1, 5)))
    assert (single.difference.scope, single.seeds_needed, single.delta) == ("this set only", None, 0.01)
    assert compare(np.zeros((1, 5)), np.zeros((1, 5))).equivalent is False


@pytest.mark.parametrize("by", [0.0, 0.1])
def test_differences_that_do_not_vary_tell_nothing(by):
    """A standard error of 0 after three condensations is luck, or a method without chance: no certainty."""
    found = compare(np.full((3, 5), 0.5 + by), np.full((3, 5), 0.5))
    assert (found.verdict, found.p, found.power, found.known) == (Verdict.CANNOT_TELL, None, None, False)


def test_bad_input():
    with pytest.raises(ConfigError, match=r"tables \[3, 2\] and \[3, 5\].*`common`"):
        compare(np.zeros((3, 2)), np.zeros((3, 5)))
    for delta in (0, -0.01, math.inf, math.nan):
        with pytest.raises(ConfigError, match="expected a number above 0"):
            compare(np.zeros((3, 2)), np.zeros((3, 2)), delta)
    with pytest.raises(ConfigError, match="delta 0"):
        seeds_needed(1, 0)


def test_equality_is_judged_by_two_one_sided_tests():
    """The difference is `by` ± 4.3 · 0.577 (2 df) and δ is 1."""
    for by, scale in ((0.0, 0.59), (0.0, 0.6), (0.3, 0.2), (0.9, 0.01), (-0.4, 0.5), (2.0, 0.2), (1.2, 0.5)):
        found = compare(5 + by + scale * SPREAD, np.full((3, 3), 5.0), delta=1.0, asks="equal")
        se = found.difference.se
        assert found.p == pytest.approx(max(student.sf((by + 1) / se, 2), student.sf((1 - by) / se, 2)))
        assert found.p != pytest.approx(found.difference.p())
        assert (found.p < 0.05) == found.equivalent == (found.verdict is Verdict.EQUIVALENT)
    assert found.verdict is Verdict.CANNOT_TELL
    far = compare(5 + 2.5 + 0.1 * SPREAD, np.full((3, 3), 5.0), delta=1.0, asks="equal")
    assert (far.verdict, far.p) == (Verdict.DOES_NOT_HOLD, pytest.approx(1.0, abs=0.05))


@pytest.mark.parametrize(
    ("by", "better", "equal"),
    [(2.0, Verdict.AT_LEAST, Verdict.DOES_NOT_HOLD), (0.0, Verdict.EQUIVALENT, Verdict.EQUIVALENT)],
)
def test_values_without_chance_decide_though_they_have_no_spread(by: float, better, equal):
    first, second = np.full((3, 1), 5.0 + by), np.full((3, 1), 5.0)
    assert compare(first, second, 1.0).verdict is Verdict.CANNOT_TELL
    assert compare(first, second, 1.0, exact=True).verdict is better
    assert compare(first, second, 1.0, exact=True, asks="equal").verdict is equal
    assert compare(first[:2], second[:2], 1.0, exact=True).verdict is Verdict.CANNOT_TELL
