"""Intervals of an accuracy stay within 0 and 1, and are never certain."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satm.errors import ConfigError
from satm.statistics import Estimate, accuracy_interval, clopper_pearson, crossed, fresh_draws


def test_by_hand():
    """p = 0.8, SE = 0.1/√3, t(2) = 4.302653: d = t·SE/0.16 around logit 0.8 = ln 4."""
    d = 4.302653 * 0.1 / math.sqrt(3) / 0.16
    low, high = accuracy_interval(fresh_draws([0.7, 0.8, 0.9]))
    assert low == pytest.approx(1 / (1 + math.exp(d) / 4), rel=1e-6)
    assert high == pytest.approx(1 / (1 + math.exp(-d) / 4), rel=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_never_outside_and_never_certain(values):
    found = fresh_draws(values)
    ends = accuracy_interval(found, images=359)
    if found.n < 3:
        assert ends is None
    else:
        low, high = ends
        assert 0 <= low <= found.mean + 1e-9
        assert found.mean - 1e-9 <= high <= 1
        assert low < high


@pytest.mark.parametrize("p", [0.7, 0.95, 0.98])
def test_coverage_near_one(p):
    """Networks' accuracies of a beta distribution: 93 to 97% (Student's: less at 0.98)."""
    rng = np.random.default_rng(7)
    size = 0.3 * p * (1 - p)  # standard deviation
    scale = p * (1 - p) / size**2 - 1
    found = [fresh_draws(values) for values in rng.beta(p * scale, (1 - p) * scale, (1000, 5))]
    ends = [accuracy_interval(each) for each in found]
    assert 0.92 <= np.mean([low <= p <= high for low, high in ends]) <= 0.975


def test_coverage_of_new_images():
    """Images differ in difficulty; five networks see the same 100 of them. Without the term, far less is covered."""
    rng = np.random.default_rng(8)
    inside, without = [], []
    for _ in range(500):
        difficulty = rng.beta(4, 1, 100)  # the chance that a network is right; mean 0.8
        right = rng.random((5, 100)) < difficulty
        found = fresh_draws(right.mean(axis=1))
        for kept, ends in (
            (inside, accuracy_interval(found, right=right.mean(axis=0))),
            (without, accuracy_interval(found)),
        ):
            kept.append(ends is not None and ends[0] <= 0.8 <= ends[1])
    assert 0.94 <= np.mean(inside) <= 0.99
    assert np.mean(without) < 0.93


def test_new_images_never_make_the_interval_narrower():
    found = fresh_draws([0.60, 0.65, 0.72])  # 2 df: t = 4.3
    these = accuracy_interval(found)
    assert accuracy_interval(found, right=np.repeat([0.0, 1.0], [600, 1400])) == these
    wide = accuracy_interval(found, right=np.repeat([0.0, 1.0], [6, 14]))
    assert wide[0] < these[0]
    assert wide[1] > these[1]


def test_the_sampling_term_by_hand():
    """Shares 1, 1, 1, 0, 0.5: Σ(p_i − p)² = 0.8, so 0.8/(5·4) is added; df by Satterthwaite."""
    found = fresh_draws([0.6, 0.7, 0.8])  # SE² = 0.01/3, 2 df
    extra, own = 0.8 / 20, 0.01 / 3
    freedom = (extra + own) ** 2 / (own**2 / 2 + extra**2 / 4)
    from scipy.stats import t

    d = t.ppf(0.975, freedom) * math.sqrt(extra + own) / 0.21
    low, _ = accuracy_interval(found, right=[1, 1, 1, 0, 0.5])
    assert low == pytest.approx(1 / (1 + math.exp(d) * 3 / 7), rel=1e-9)


def test_no_spread_gives_the_binomial_interval_or_none():
    certain = crossed(np.ones((3, 5)))
    assert accuracy_interval(certain) is None
    assert accuracy_interval(certain, images=100) == pytest.approx((0.025 ** (1 / 100), 1.0))  # closed form at k = m
    assert accuracy_interval(certain, right=np.ones(100)) == accuracy_interval(certain, images=100)
    assert accuracy_interval(crossed(np.zeros((3, 5))), images=100) == pytest.approx((0.0, 1 - 0.025 ** (1 / 100)))
    assert accuracy_interval(crossed(np.full((3, 5), 0.9)), images=10) == clopper_pearson(9, 10)
    assert accuracy_interval(crossed(np.full((3, 5), 0.9))) is None
    assert accuracy_interval(crossed(np.ones((1, 2))), images=100) is None  # two networks


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_mean_at_the_end_has_no_logit(p):
    found = Estimate(mean=p, se=0.01, freedom=4, n=5, counts="networks", scope="this set only")
    assert accuracy_interval(found) is None
    assert accuracy_interval(found, images=100) == clopper_pearson(round(100 * p), 100)


def test_clopper_pearson_against_a_printed_table():
    assert clopper_pearson(9, 10) == pytest.approx((0.5550, 0.9975), abs=5e-5)
    assert clopper_pearson(5, 10, 0.9) == pytest.approx((0.2224, 0.7776), abs=5e-5)


def test_bad_input():
    with pytest.raises(ConfigError, match=r"accuracy 70: expected a fraction"):
        accuracy_interval(fresh_draws([70.0, 70.0, 70.0]))
    assert accuracy_interval(fresh_draws([1.0, 1.0, 1.0]), images=2) == clopper_pearson(2, 2)
    with pytest.raises(ConfigError, match="1 test images"):
        accuracy_interval(fresh_draws([0.5, 0.6, 0.7]), images=1)
    with pytest.raises(ConfigError, match="1 test images"):
        accuracy_interval(fresh_draws([0.5, 0.6, 0.7]), right=[1.0])
    with pytest.raises(ConfigError, match=r"shares from 0 to 2"):
        accuracy_interval(fresh_draws([0.5, 0.6, 0.7]), right=[0, 2])
    for outside in (-0.01, 1.01):
        with pytest.raises(ConfigError, match="expected a fraction"):
            accuracy_interval(fresh_draws([outside] * 3))
    for right, images in ((11, 10), (-1, 10), (0, 0)):
        with pytest.raises(ConfigError, match=f"{right} right of {images} images"):
            clopper_pearson(right, images)
    assert clopper_pearson(1, 1) == pytest.approx((0.025, 1.0))
