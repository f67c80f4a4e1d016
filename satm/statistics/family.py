"""Several comparisons at once: Holm's correction, the methods that may be the best, and ranks across data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from satm.errors import ConfigError
from satm.statistics.compare import DELTA, Comparison, Verdict, compare
from satm.statistics.crossed import crossed
from satm.statistics.estimate import LEVEL, checked

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyMember:
    """One comparison of a family of k comparisons, with a p-value and a verdict that are corrected for all k.

    The verdict "holds" needs Holm's p ≤ 0.05. In a comparison that asks whether both methods are equal, the verdict
    "equivalent" needs it, too. The other verdicts use the interval at the level 1 − 0.05/k, which is valid for all k
    comparisons together.
    """

    first: str
    second: str
    comparison: Comparison  # the comparison without a correction
    p: float | None  # Holm's p, from `comparison.p`; None if `comparison.known` is False
    verdict: Verdict  # the corrected verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTest:
    """Friedman's test of k methods on N data sets, with Nemenyi's critical difference of mean ranks.

    Two methods differ if their mean ranks differ by at least `critical`.
    """

    statistic: float  # follows a chi-squared distribution with k − 1 degrees of freedom if the methods are equal
    p: float
    ranks: tuple[float, ...]  # the mean rank of each method; rank 1 is the highest score
    critical: float  # the critical difference of two mean ranks, at the 5% level


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order of `p`.

    The adjusted value of the i-th smallest of k p-values is the maximum over j ≤ i of (k − j + 1)·p_(j), at most 1,
    where p_(j) is the j-th smallest.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for done, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - done) * p[index]))
        adjusted[index] = largest
    return adjusted


def all_pairs(groups: Mapping[str, npt.ArrayLike], delta: float = DELTA) -> list[FamilyMember]:
    """The comparisons of all pairs of methods, with Holm's correction. In each pair the higher mean is first.

    `groups` maps the name of a method to its table [S, R] of condensation seeds × networks. All tables have the same
    seeds and networks. Raises ConfigError for fewer than two methods.
    """
    names = sorted(_several(groups), key=lambda name: -crossed(groups[name]).mean)
    return _family(groups, list(combinations(names, 2)), delta)


def against_control(groups: Mapping[str, npt.ArrayLike], control: str, delta: float = DELTA) -> list[FamilyMember]:
    """The comparisons of every other method with `control` (method − control), with Holm's correction.

    `groups` is as in `all_pairs`. Dunnett's test (`scipy.stats.dunnett`) is not used: it is for independent samples.
    Here all methods share seeds and networks, and Dunnett's test leaves out the correlations that this causes. Holm's
    correction needs no assumption about them.

    Raises ConfigError for fewer than two methods, or if `control` is not one of them.
    """
    _several(groups)
    if control not in groups:
        raise ConfigError(f"control '{control}': expected one of {', '.join(groups)}")
    return _family(groups, [(name, control) for name in groups if name != control], delta)


def may_be_best(groups: Mapping[str, npt.ArrayLike]) -> tuple[str, ...]:
    """The methods that no other method is shown to beat, in the order of `groups`.

    With d_ji = y_j − y_i as in `compare`, d̄_ji its mean and SE_ji its standard error, method i of the k methods is one
    of them if d̄_ji − t(1 − 0.05/(k − 1))·SE_ji ≤ 0 for all j. The best method is among them with a probability of at
    least 95%. With fewer than three condensations nothing can be shown, so all methods are returned.
    """
    if len(groups) < 2:
        return tuple(groups)
    worst = (1 - LEVEL) / (len(groups) - 1)  # the one-sided significance level for each of the k − 1 other methods

    def beaten(by: str, name: str) -> bool:
        found = compare(groups[by], groups[name])
        ends = found.difference.ends(1 - 2 * worst)
        return found.known and ends is not None and ends[0] > 0

    return tuple(name for name in groups if not any(beaten(other, name) for other in groups if other != name))


def rank_test(scores: npt.ArrayLike) -> RankTest:
    """Friedman's test of scores [N data sets, k methods], with Nemenyi's critical difference. Higher scores are better.

    critical = q √(k(k + 1)/(6N)), where q is the 95% quantile of the studentised range of k values with infinite
    degrees of freedom, divided by √2. If all methods are equal on every data set, the statistic is 0 and p is 1.

    Raises ConfigError for fewer than three methods or two data sets.

    Source: Demšar (2006), "Statistical Comparisons of Classifiers over Multiple Data Sets", section 3.2.2.
    """
    table = checked(scores, dimensions=2, shape="a table [data sets, methods]")
    sets, methods = table.shape
    if sets < 2 or methods < 3:
        raise ConfigError(f"{methods} methods on {sets} data sets: expected three or more methods and two or more sets")
    from scipy import stats

    ranks = stats.rankdata(-table, axis=1)
    same = bool((ranks == ranks[:, :1]).all())
    statistic, p = (0.0, 1.0) if same else stats.friedmanchisquare(*table.T)
    quantile = float(stats.studentized_range.ppf(LEVEL, methods, float("inf"))) / 2**0.5
    return RankTest(
        statistic=float(statistic),
        p=float(p),
        ranks=tuple(float(rank) for rank in ranks.mean(axis=0)),
        critical=quantile * (methods * (methods + 1) / (6 * sets)) ** 0.5,
    )


def corrected(found: Sequence[tuple[str, str, Comparison]], size: int | None = None) -> list[FamilyMember]:
    """The members of a family of `size` comparisons, corrected together. `found` holds (first, second, comparison).

    A family that was declared before the work can have members that are not measured yet: `size` counts them, too, and
    `found` does not have them. If `size` is None, the family has only the comparisons in `found`. Raises ConfigError if
    `size` is smaller than the number of comparisons in `found`.
    """
    k = len(found) if size is None else size
    if k < len(found):
        raise ConfigError(f"a family of {k} comparisons with {len(found)} members; expected at least as many")
    known = [1.0 if each.p is None else each.p for _, _, each in found]
    adjusted = holm([*known, *[1.0] * (k - len(found))])
    members = []
    for (first, second, each), p in zip(found, adjusted, strict=False):
        decided = each.verdict_at(1 - (1 - LEVEL) / k)
        if each.known and p <= 1 - LEVEL:  # Holm's method decides in some cases in which the interval does not
            if each.asks == "equal":
                decided = Verdict.EQUIVALENT
            elif each.difference.mean > 0 and decided is not Verdict.AT_LEAST:
                decided = Verdict.HOLDS
        members.append(
            FamilyMember(first=first, second=second, comparison=each, p=p if each.known else None, verdict=decided)
        )
    return members


def _family(groups: Mapping[str, npt.ArrayLike], pairs: Sequence[tuple[str, str]], delta: float) -> list[FamilyMember]:
    return corrected([(first, second, compare(groups[first], groups[second], delta)) for first, second in pairs])


def _several(groups: Mapping[str, npt.ArrayLike]) -> Mapping[str, npt.ArrayLike]:
    if len(groups) < 2:
        raise ConfigError(f"{len(groups)} methods to compare; expected two or more")
    return groups
