"""The beta function and the quantiles of t have the values of SciPy's and of closed forms."""

from __future__ import annotations

import math

import pytest
from scipy import special

from satm.statistics.beta import MANY, beta_cdf, beta_quantile, t_quantile

PROBABILITIES = (0.6, 0.9, 0.95, 0.975, 0.99, 0.9975, 0.9999)


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 2.3, 3, 4, 7.7, 10, 19.5, 77, 333, 1000, MANY - 1, MANY, 1e5, 1e6])
def test_quantiles_of_t_are_scipys(freedom: float) -> None:
    for probability in PROBABILITIES:
        found = t_quantile(probability, freedom)
        assert found == pytest.approx(special.stdtrit(freedom, probability), rel=1e-13)
        assert t_quantile(1 - probability, freedom) == pytest.approx(-found, rel=1e-12)
    assert t_quantile(0.5, freedom) == 0


def test_quantiles_of_t_in_closed_form() -> None:
    for p in PROBABILITIES:
        assert t_quantile(p, 1) == pytest.approx(math.tan(math.pi * (p - 0.5)), rel=1e-12)
        assert t_quantile(p, 2) == pytest.approx((2 * p - 1) * math.sqrt(2 / (4 * p * (1 - p))), rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1, 1), (1, 9), (3, 2.5), (5, 500), (9_000, 1_001)])
def test_beta_is_scipys(a: float, b: float) -> None:
    for x in (0.0, 1e-4, 0.01, 0.3, 0.5, 0.9, 0.97, 1.0):
        assert beta_cdf(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-12, abs=1e-15)
    for probability in (0.025, 0.5, 0.975):
        assert beta_quantile(probability, a, b) == pytest.approx(special.betaincinv(a, b, probability), rel=1e-12)
