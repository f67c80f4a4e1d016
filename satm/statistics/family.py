"""Several comparisons at once: Holm's correction, the methods that may be best, and ranks across data sets."""

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
    """One comparison of a family of k, corrected for the other k − 1.

    "Holds", and "equivalent" for a comparison that asks whether both are equal, need Holm's p ≤ 0.05. The other
    verdicts use the interval at level 1 − 0.05/k, which is valid for all k together.
    """

    first: str
    second: str
    comparison: Comparison  # by itself, not corrected
    p: float | None  # Holm's: two-sided, or of two one-sided tests (TOST); None for fewer than three condensations
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTest:
    """Friedman's test of k methods on N data sets, with Nemenyi's critical difference of mean ranks.

    Two methods differ if their mean ranks differ by at least `critical`.
    """

    statistic: float  # chi-squared with k − 1 df
    p: float
    ranks: tuple[float, ...]  # mean rank of each method; 1 is the highest score
    critical: float  # at the 5% level


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: max over j ≤ i of (k − j + 1)·p_(j), at most 1. In the order given.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for done, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - done) * p[index]))
        adjusted[index] = largest
    return adjusted


def all_pairs(groups: Mapping[str, npt.ArrayLike], delta: float = DELTA) -> list[FamilyMember]:
    """Every pair of methods, the one with the higher mean first, with Holm's correction.

    Each table [S, R] has the same condensation seeds and networks. Raises ConfigError for fewer than two methods.
    """
    names = sorted(_several(groups), key=lambda name: -crossed(groups[name]).mean)
    return _family(groups, list(combinations(names, 2)), delta)


def against_control(groups: Mapping[str, npt.ArrayLike], control: str, delta: float = DELTA) -> list[FamilyMember]:
    """Every other method − `control`, with Holm's correction of p-values paired by seed.

    Dunnett's test (`scipy.stats.dunnett`) is for independent samples. Here all methods share seeds and networks, which
    Dunnett's correlations leave out. Holm's correction needs no assumption about them. Raises ConfigError for fewer
    than two methods, or a control that is none of them.
    """
    _several(groups)
    if control not in groups:
        raise ConfigError(f"control '{control}': expected one of {', '.join(groups)}")
    return _family(groups, [(name, control) for name in groups if name != control], delta)


def may_be_best(groups: Mapping[str, npt.ArrayLike]) -> tuple[str, ...]:
    """The methods of which no other is shown to be better: {i: for all j, d̄_ji − t(1 − 0.05/(k − 1))·SE_ji ≤ 0}.

    d_ji = y_j − y_i as in `compare`. The best method is among them with a chance of at least 95%. For fewer than three
    condensations nothing is shown, so all methods may be best. In the order given.
    """
    if len(groups) < 2:
        return tuple(groups)
    worst = (1 - LEVEL) / (len(groups) - 1)  # one-sided, for each of the k − 1 others

    def beaten(by: str, name: str) -> bool:
        found = compare(groups[by], groups[name])
        ends = found.difference.ends(1 - 2 * worst)
        return found.known and ends is not None and ends[0] > 0

    return tuple(name for name in groups if not any(beaten(other, name) for other in groups if other != name))


def rank_test(scores: npt.ArrayLike) -> RankTest:
    """Friedman's test of scores [N data sets, k methods], higher is better, with Nemenyi's critical difference.

    critical = q √(k(k + 1)/(6N)), q the 95% quantile of the studentised range of k with infinite df, divided by √2.
    If all methods tie on every data set, the statistic is 0 and p is 1. Raises ConfigError for fewer than three methods
    or two data sets.

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
    """(first, second, their comparison) as members of a family of `size` comparisons; None: of these.

    A family that is declared before the work may have members that are not measured yet; they count in `size`. Raises
    ConfigError if it is smaller than the number of comparisons.
    """
    k = len(found) if size is None else size
    if k < len(found):
        raise ConfigError(f"a family of {k} comparisons with {len(found)} members; expected at least as many")
    known = [1.0 if each.p is None else each.p for _, _, each in found]
    adjusted = holm([*known, *[1.0] * (k - len(found))])
    members = []
    for (first, second, each), p in zip(found, adjusted, strict=False):
        decided = each.verdict_at(1 - (1 - LEVEL) / k)
        if each.known and p <= 1 - LEVEL:  # Holm's method rejects more than the interval does
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
