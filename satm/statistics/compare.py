"""The paired difference of two methods, and what it says about a claim."""

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

DELTA = 0.01  # one point of accuracy: the smallest difference that matters, fixed before looking
FEW_NETWORKS = 3  # with fewer, the spread between networks is not known: t on the seeds' means
SIGN_FLIPS = range(6, 17)  # condensations for which all 2^S flips are tried; fewer cannot give p < 0.05
THESE_NETWORKS = "new condensations, these networks only"
POWER = 0.8
Question: TypeAlias = Literal["better", "equal"]
"""What is asked of a comparison: is the first better than the second, or are they equal within ±δ?"""


class Verdict(StrEnum):
    """What [L, U], the 95% interval of first − second, says about the claim "first is better than second".

    About "first and second are equal" it says: equivalent, or does not hold (L ≥ δ or U ≤ −δ), or cannot tell.
    """

    AT_LEAST = "holds, by at least δ"  # L > δ
    HOLDS = "holds"  # L > 0
    EQUIVALENT = "equivalent"  # otherwise, and the 90% interval lies in (−δ, δ)
    DOES_NOT_HOLD = "does not hold"  # otherwise, and U < δ
    CANNOT_TELL = "cannot tell"  # otherwise, and for fewer than three condensations


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The paired difference first − second, and what it says about "first is better than second" at `delta`.

    Single sets cannot tell, and neither can pairs of two: p, power and every verdict but "cannot tell" need three
    condensations. If it `asks` "equal", p and the verdicts are about "first and second are equal, within ±δ".
    """

    difference: Crossed
    seed_means: tuple[float, ...]  # d̄_s: the difference of each condensation seed, in the unit of the values
    delta: float  # in the unit of the values
    asks: Question = "better"
    exact: bool = False  # whether the values hold no chance, so that a spread of 0 is certain: peak memory on a GPU

    @property
    def known(self) -> bool:
        """Whether there are enough condensations, and differences that vary, for an interval of the methods.

        A standard error of 0 would claim to be certain after a few condensations, unless the values are `exact`.
        """
        return self.difference.seeds >= FEWEST and (self.exact or bool(self.difference.se))

    @property
    def verdict(self) -> Verdict:
        """The verdict at 95%."""
        return self.verdict_at(LEVEL)

    def verdict_at(self, level: float) -> Verdict:
        """The verdict from the interval at `level`, as a family of comparisons needs it."""
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
        """Whether the 90% interval lies in (−δ, δ), whatever the verdict."""
        return self.equivalent_at(LEVEL)

    def equivalent_at(self, level: float) -> bool:
        """Whether the interval at 1 − 2(1 − `level`) lies in (−δ, δ): two one-sided tests, each at 1 − `level`."""
        ends = self.difference.ends(2 * level - 1)
        return self.known and ends is not None and -self.delta < ends[0] and ends[1] < self.delta

    @property
    def p(self) -> float | None:
        """The two-sided p-value of the t that the interval uses; `equivalence_p` if it asks whether both are equal."""
        if self.asks == "equal":
            return self.equivalence_p
        return self.difference.p() if self.known else None

    @property
    def equivalence_p(self) -> float | None:
        """The p-value of two one-sided tests (TOST): the larger one of "below −δ" and "above δ".

        It is at most a if the interval at 1 − 2a lies in (−δ, δ). Source: Schuirmann (1987), "A comparison of the two
        one-sided tests procedure and the power approach for assessing the equivalence of average bioavailability".
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
        """The exact two-sided p-value of the seed means if each sign were a coin toss.

        None outside 6 to 16 condensations. It assumes no normal distribution. The smallest value is 2/2^S.
        """
        if len(self.seed_means) not in SIGN_FLIPS:
            return None
        import numpy as np
        from scipy.stats import permutation_test

        flips = 2 ** len(self.seed_means)  # all of them: the test is exact
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
        """The chance that L > 0 if the true difference is δ: P(t'(df, δ/SE) > t_{.975}), t' the noncentral t."""
        found = self.difference
        if not self.known or found.se is None or found.freedom is None:
            return None
        return _power(self.delta, found.se, found.freedom)

    @property
    def seeds_needed(self) -> int | None:
        """Condensations for a power of 0.8 at δ, as `seeds_needed` finds them; None for a single set."""
        return seeds_needed(spread(self.seed_means), self.delta) if len(self.seed_means) > 1 else None


def compare(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    delta: float = DELTA,
    *,
    asks: Question = "better",
    exact: bool = False,
) -> Comparison:
    """Compare y [S, R] of two methods: row s is the same condensation seed, column r the same initial network.

    d[s, r] = first − second gets the crossed standard error. With fewer than three networks this error would rest on
    one degree of freedom. Then SE and t are those of the S means d̄_s, with S − 1 df, and the scope is these networks
    only. `delta` has the unit of the values; fix it before looking. `asks` and `exact`: see `Comparison`.

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
    """The smallest number of condensations S, at least three, for which t with S − 1 df has the power `goal` at δ.

    `std` is the standard deviation of the seed means d̄_s and has the unit of `delta`. The number comes from the
    noncentral t and is close to (t.975 + t.8)² sd²/δ². It speaks of the networks at hand: a spread between networks
    does not shrink with S. Raises ConfigError for a delta that is not above 0.
    """
    from scipy.special import ndtri

    _check_delta(delta)
    normal = float(ndtri((1 + LEVEL) / 2) + ndtri(goal)) * std / delta
    seeds = max(FEWEST, math.floor(normal**2))  # t needs more than the normal distribution
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
