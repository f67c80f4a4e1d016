"""Confidence intervals of means and of differences of means, and rank correlation. Pure functions of numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from satm.errors import ConfigError

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its two-sided 95% Student t-interval: mean ± `half`.

    `half` is infinite if there are fewer than two values.
    """

    mean: float
    half: float
    std: float  # population standard deviation of the values, as the field reports it
    n: int  # number of values, or of pairs

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """How well two measures agree on the order of n things.

    `spearman`, `kendall` and `p` are None if there are fewer than three things, or if one measure is the same for all
    of them. `p` is the chance of a |tau| at least this large if the two orders are unrelated (scipy's `kendalltau`:
    exact for few values without ties, otherwise approximate). Without ties it is at least 1/3 for three things and 1/12
    for four. So only five or more things can show an agreement at the 5% level.
    """

    spearman: float | None  # Pearson's correlation of the ranks, ties sharing their mean rank
    kendall: float | None  # tau-b
    p: float | None  # two-sided, of Kendall's tau
    n: int


def half_width(std: float, n: int) -> float:
    """Half of the 95% t-interval of a mean of `n` values with population standard deviation `std`; inf if n < 2."""
    return math.inf if n < 2 else _t(n - 1) * std / math.sqrt(n - 1)  # s/√n = std/√(n − 1)


def interval(values: Sequence[float]) -> Interval:
    """The mean of `values` with its interval. Raises ConfigError if there are no values."""
    if not values:
        raise ConfigError("no values to compute an interval of; expected one or more")
    std = statistics.pstdev(values)
    return Interval(statistics.fmean(values), half_width(std, len(values)), std, len(values))


def paired_interval(values: Sequence[float], others: Sequence[float]) -> Interval:
    """The mean of value − other over pairs, with its interval. Raises ConfigError if the lengths differ."""
    if len(values) != len(others):
        raise ConfigError(f"{len(values)} values and {len(others)} others: expected pairs")
    return interval([a - b for a, b in zip(values, others, strict=True)])


def difference_interval(values: Sequence[float], others: Sequence[float]) -> Interval:
    """mean(values) − mean(others) of two unpaired samples, with Welch's 95% interval.

    Its `n` is the size of the smaller sample, its `std` the root of the sum of the population variances. The interval
    is infinite if a sample has only one value. Otherwise, if both samples have no spread, it has width 0. Raises
    ConfigError if a sample is empty.
    """
    a, b = interval(values), interval(others)
    std = math.hypot(a.std, b.std)
    n = min(a.n, b.n)
    if n < 2:
        return Interval(a.mean - b.mean, math.inf, std, n)
    squares = [each.std**2 / (each.n - 1) for each in (a, b)]  # squared standard errors of the two means
    error = sum(squares)
    if error == 0:
        return Interval(a.mean - b.mean, 0.0, std, n)
    freedom = error**2 / sum(square**2 / (each.n - 1) for square, each in zip(squares, (a, b), strict=True))
    return Interval(a.mean - b.mean, _t(freedom) * math.sqrt(error), std, n)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Spearman's and Kendall's rank correlation of two measures of the same things.

    `first[i]` and `second[i]` belong to the same thing. Raises ConfigError if the lengths differ.
    """
    if len(first) != len(second):
        raise ConfigError(f"{len(first)} and {len(second)} values: expected two measures of the same things")
    n = len(first)
    if n < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return RankCorrelation(None, None, None, n)
    from scipy import stats  # a dependency of scikit-learn

    tau = stats.kendalltau(first, second)
    return RankCorrelation(float(stats.spearmanr(first, second).statistic), float(tau.statistic), float(tau.pvalue), n)


def _t(freedom: float) -> float:
    """The 97.5% quantile of Student's t with `freedom` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))
