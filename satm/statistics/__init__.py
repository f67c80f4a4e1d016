"""Means, intervals, comparisons and rank correlations. All are pure functions of numbers.

Which function to use for which values:

- A table with a row for each condensation (seed) and a column for each network: `crossed` for one method, `compare` for
  two methods with the same seeds and networks, `all_pairs`, `against_control` or `may_be_best` for several methods.
- Several networks for each class order: `nested`.
- A new draw of random images for each network: `fresh_draws`.
- Independent values without such a structure: `interval`, `paired_interval`, `difference_interval`.

`accuracy_interval` keeps the interval of an accuracy between 0 and 1.
"""

from satm.statistics.agreement import Agreement, mcnemar
from satm.statistics.compare import DELTA, Comparison, Question, Verdict, compare, seeds_needed
from satm.statistics.crossed import Common, Crossed, common, crossed, fullest
from satm.statistics.estimate import FEWEST, LEVEL, Estimate
from satm.statistics.family import (
    FamilyMember,
    RankTest,
    against_control,
    all_pairs,
    corrected,
    holm,
    may_be_best,
    rank_test,
)
from satm.statistics.interval import Interval, difference_interval, half_width, interval, paired_interval
from satm.statistics.nested import Nested, fresh_draws, nested
from satm.statistics.percent import accuracy_interval, clopper_pearson
from satm.statistics.ranks import RankCorrelation, kendall_interval, rank_correlation

__all__ = [
    "DELTA",
    "FEWEST",
    "LEVEL",
    "Agreement",
    "Common",
    "Comparison",
    "Crossed",
    "Estimate",
    "FamilyMember",
    "Interval",
    "Nested",
    "Question",
    "RankCorrelation",
    "RankTest",
    "Verdict",
    "accuracy_interval",
    "against_control",
    "all_pairs",
    "clopper_pearson",
    "common",
    "compare",
    "corrected",
    "crossed",
    "difference_interval",
    "fresh_draws",
    "fullest",
    "half_width",
    "holm",
    "interval",
    "kendall_interval",
    "may_be_best",
    "mcnemar",
    "nested",
    "paired_interval",
    "rank_correlation",
    "rank_test",
    "seeds_needed",
]
