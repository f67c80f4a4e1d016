"""The paired difference of two methods, and what this difference says about a claim."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

from satm.errors import ConfigError
from satm.statistics.beta import t_quantile
from satm.statistics.crossed import Crossed, crossed
from satm.statistics.estimate import FEWEST, LEVEL, checked, spread

if TYPE_CHECKING:
    import numpy.typing as npt

DELTA = 0.01  # the default δ, one point of accuracy: the smallest difference that matters, chosen before the results
FEW_NETWORKS = 3  # with fewer networks, t is computed only from the means of the seeds (see `compare`)
SIGN_FLIPS = range(6, 17)  # the numbers S of condensations for a test of all 2^S signs; S < 6 cannot give p < 0.05
THESE_NETWORKS = "new condensations, these networks only"
POWER = 0.8  # the power that `seeds_needed` aims at
Question: TypeAlias = Literal["better", "equal"]
"""What a comparison asks: is the first method better than the second, or are both equal within ±δ?"""


class Verdict(StrEnum):
    """What the 95% interval [L, U] of first − second says about the claim "first is better than second".

    The comments below are the rules for this claim; they are tried from the top. If the claim is "first and second are
    equal", the verdict is `EQUIVALENT` if the 90% interval is inside (−δ, δ), `DOES_NOT_HOLD` if L ≥ δ or U ≤ −δ, and
    otherwise `CANNOT_TELL`.
    """

    AT_LEAST = "holds, by at least δ"  # L > δ
    HOLDS = "holds"  # L > 0
    EQUIVALENT = "equivalent"  # no rule above applies, and the 90% interval is inside (−δ, δ)
    DOES_NOT_HOLD = "does not hold"  # no rule above applies, and U < δ
    CANNOT_TELL = "cannot tell"  # no rule above applies, or there is no interval (see `Comparison.known`)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The paired difference first − second, and what it says about "first is better than second" at `delta`.

    If `known` is False (for example with fewer than three condensations), p and power are None, and the verdict is
    "cannot tell". If `asks` is "equal", p and the verdicts are about "first and second are equal, within ±δ".
    """

    difference: Crossed
    seed_means: tuple[float, ...]  # d̄_s, the mean difference of each condensation seed s, in the unit of the values
    delta: float  # δ, the smallest difference that matters, in the unit of the values
    asks: Question = "better"
    exact: bool = False  # whether the values are free of chance, such as peak memory: then a spread of 0 is real

    @property
    def known(self) -> bool:
        """Whether the difference has an interval that is about the methods.

        It needs three condensations, and differences that vary. Without variation the standard error is 0 and would
        claim certainty after a few condensations. Such a standard error is accepted only if the values are `exact`.
        """
        return self.difference.seeds >= FEWEST and (self.exact or bool(self.difference.se))

    @property
    def verdict(self) -> Verdict:
        """The verdict from the 95% interval."""
        return self.verdict_at(LEVEL)

    def verdict_at(self, level: float) -> Verdict:
        """The verdict from the interval at `level`. A family of comparisons uses a level above 95%."""
        ends = self.difference.ends(level)
        if not self.known or ends is None:
            return Verdict.CANNOT_TELL
        low, high = ends
        if self.asks == "equal":
            if self.equivalent_at(level):
                return Verdict.EQUIVALENT
            return Verdict.DOES_NOT_HOLD if max(low, -high) >= self.delta else Verdict.CANNOT_TELL
        if low > 0:
            return Verdict.AT_LEAST if low > self.delta else Verdict.HOLDS
        if self.equivalent_at(level):
            return Verdict.EQUIVALENT
        return Verdict.DOES_NOT_HOLD if high < self.delta else Verdict.CANNOT_TELL

    @property
    def equivalent(self) -> bool:
        """Whether the 90% interval is inside (−δ, δ). The verdict can be another one, such as "holds"."""
        return self.equivalent_at(LEVEL)

    def equivalent_at(self, level: float) -> bool:
        """Whether the interval at the level 1 − 2(1 − `level`) is inside (−δ, δ).

        This is the same as two one-sided tests, each at the significance level 1 − `level`.
        """
        ends = self.difference.ends(2 * level - 1)
        return self.known and ends is not None and -self.delta < ends[0] and ends[1] < self.delta

    @property
    def p(self) -> float | None:
        """The two-sided p-value of the t-test against 0. If `asks` is "equal", it is `equivalence_p` instead."""
        if self.asks == "equal":
            return self.equivalence_p
        return self.difference.p() if self.known else None

    @property
    def equivalence_p(self) -> float | None:
        """The larger p-value of two one-sided tests (TOST), against "the difference is below −δ" and against "above δ".

        It is at most s if the interval at the level 1 − 2s is inside (−δ, δ). Source: Schuirmann (1987), "A comparison
        of the two one-sided tests procedure and the power approach for assessing the equivalence of average
        bioavailability".
        """
        found = self.difference
        if not self.known or found.se is None or found.freedom is None:
            return None
        inside = self.delta - abs(found.mean)
        if found.se == 0:
            return 0.0 if inside > 0 else 1.0
        from scipy.special import stdtr

        return float(stdtr(found.freedom, -inside / found.se))

    @property
    def sign_flip_p(self) -> float | None:
        """The exact two-sided p-value of a test in which the sign of each seed mean is as random as a coin toss.

        The test does not assume a normal distribution. With S condensations the smallest possible p-value is 2/2^S. The
        result is None if there are fewer than 6 or more than 16 condensations.
        """
        if len(self.seed_means) not in SIGN_FLIPS:
            return None
        import numpy as np
        from scipy.stats import permutation_test

        flips = 2 ** len(self.seed_means)  # all combinations of signs, so the test is exact
        found = permutation_test(
            (np.array(self.seed_means),),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=flips,
            batch=2**14,
        )
        return float(found.pvalue)

    @property
    def power(self) -> float | None:
        """The probability that L > 0 if the true difference is δ: P(t'(df, δ/SE) > t_{.975}).

        t' follows the noncentral t distribution with df degrees of freedom and the noncentrality δ/SE.
        """
        found = self.difference
        if not self.known or found.se is None or found.freedom is None:
            return None
        return _power(self.delta, found.se, found.freedom)

    @property
    def seeds_needed(self) -> int | None:
        """The number of condensations for a power of 0.8 at δ, from `seeds_needed`; None for a single condensation."""
        return seeds_needed(spread(self.seed_means), self.delta) if len(self.seed_means) > 1 else None


def compare(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    delta: float = DELTA,
    *,
    asks: Question = "better",
    exact: bool = False,
) -> Comparison:
    """Compare two methods by tables [S, R], which have a row for each condensation seed and a column for each network.

    Both tables have the same seeds, and networks with the same starts. The differences d[s, r] = first − second get the
    standard error of `crossed`. With fewer than three networks this error would rest on one degree of freedom. In this
    case the standard error and t are those of the S means d̄_s, with S − 1 degrees of freedom, and the scope of the
    interval is these networks only.

    `delta` has the unit of the values and must be fixed before looking at the results. `Comparison` explains `asks` and
    `exact`.

    Raises ConfigError for tables of different shapes, and for a delta that is not above 0.
    """
    _check_delta(delta)
    shape = "a table [condensations, networks]"
    a, b = checked(first, dimensions=2, shape=shape), checked(second, dimensions=2, shape=shape)
    if a.shape != b.shape:
        raise ConfigError(
            f"tables {list(a.shape)} and {list(b.shape)}: expected the same condensation seeds and networks (`common`)"
        )
    d = a - b
    means = d.mean(axis=1, keepdims=True)
    if len(d) > 1 and d.shape[1] < FEW_NETWORKS:
        found = replace(crossed(means), networks=d.shape[1], scope=THESE_NETWORKS)
    else:
        found = crossed(d)
    return Comparison(difference=found, seed_means=tuple(means[:, 0].tolist()), delta=delta, asks=asks, exact=exact)


def seeds_needed(std: float, delta: float = DELTA, goal: float = POWER) -> int:
    """The smallest number S of condensations, at least three, with which a t-test has the power `goal` at δ = `delta`.

    `std` is the standard deviation of the seed means d̄_s, in the unit of `delta`. The number comes from the noncentral
    t distribution with S − 1 degrees of freedom, and is close to (t.975 + t.8)² std²/δ². It is valid for the networks
    at hand only: a spread between networks does not get smaller with more condensations.

    Raises ConfigError for a delta that is not above 0.
    """
    from scipy.special import ndtri

    _check_delta(delta)
    normal = float(ndtri((1 + LEVEL) / 2) + ndtri(goal)) * std / delta
    seeds = max(FEWEST, math.floor(normal**2))  # a lower bound: t needs more than the normal distribution
    while _power(delta, std / math.sqrt(seeds), seeds - 1) < goal:
        seeds += 1
    return seeds


def _power(delta: float, se: float, freedom: float) -> float:
    if se == 0:
        return 1.0
    from scipy.stats import nct

    return float(nct.sf(t_quantile((1 + LEVEL) / 2, freedom), freedom, delta / se))


def _check_delta(delta: float) -> None:
    if not 0 < delta < math.inf:
        raise ConfigError(f"delta {delta:g}: expected a number above 0, such as {DELTA:g} (one point)")
