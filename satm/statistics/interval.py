"""Student's t-intervals of means and of differences of means, for values that are independent of each other.

The networks of one condensation, or of one class order, are not independent. For a claim about a method use `crossed`
or `nested` instead.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from satm.errors import ConfigError
from satm.statistics.beta import t_quantile
from satm.statistics.estimate import LEVEL


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its two-sided 95% Student t-interval: mean ± `half`.

    `half` is infinite if there are fewer than two values.
    """

    mean: float
    half: float
    std: float  # the population standard deviation (divided by n), which papers of this field report
    n: int  # the number of values, or of pairs of values

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.mean + self.half


def half_width(std: float, n: int) -> float:
    """Half of the width of the 95% t-interval of a mean; infinity if n < 2.

    `n` is the number of values, and `std` their population standard deviation (divided by n).
    """
    # s/√n = std/√(n − 1), with s the sample standard deviation
    return math.inf if n < 2 else t_quantile((1 + LEVEL) / 2, n - 1) * std / math.sqrt(n - 1)


def interval(values: Sequence[float]) -> Interval:
    """The mean of `values` with its t-interval. Raises ConfigError if there are no values."""
    if not values:
        raise ConfigError("no values to compute an interval of; expected one or more")
    std = statistics.pstdev(values)
    return Interval(statistics.fmean(values), half_width(std, len(values)), std, len(values))


def paired_interval(values: Sequence[float], others: Sequence[float]) -> Interval:
    """The mean of the differences value − other of pairs, with its t-interval.

    Raises ConfigError if the lengths differ, or if there are no values.
    """
    if len(values) != len(others):
        raise ConfigError(f"{len(values)} values and {len(others)} others: expected pairs")
    return interval([a - b for a, b in zip(values, others, strict=True)])


def difference_interval(values: Sequence[float], others: Sequence[float]) -> Interval:
    """mean(values) − mean(others) of two unpaired samples, with Welch's 95% interval.

    In the result, `n` is the size of the smaller sample, and `std` is the root of the sum of the two population
    variances. The interval is infinite if a sample has only one value. Otherwise it has the width 0 if the values of
    neither sample vary. Raises ConfigError if a sample is empty.
    """
    a, b = interval(values), interval(others)
    std = math.hypot(a.std, b.std)
    n = min(a.n, b.n)
    if n < 2:
        return Interval(a.mean - b.mean, math.inf, std, n)
    squares = [each.std**2 / (each.n - 1) for each in (a, b)]  # the squared standard errors of the two means
    error = sum(squares)
    if error == 0:
        return Interval(a.mean - b.mean, 0.0, std, n)
    freedom = error**2 / sum(square**2 / (each.n - 1) for square, each in zip(squares, (a, b), strict=True))
    return Interval(a.mean - b.mean, t_quantile((1 + LEVEL) / 2, freedom) * math.sqrt(error), std, n)
