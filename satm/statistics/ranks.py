"""The rank correlation of two measures of the same things, with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from satm.errors import ConfigError
from satm.statistics.estimate import FEWEST, LEVEL, checked

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """How well two measures agree on the order of n things, such as methods.

    `spearman`, `kendall` and `p` are None if there are fewer than three things, or if one measure has the same value
    for all things. `p` is the probability of a |tau| at least as large as `kendall` if the two orders are unrelated. It
    comes from scipy's `kendalltau`, and is exact for few values without ties, otherwise approximate.

    Without ties p is at least 1/3 for three things and at least 1/12 for four. So only five or more things can show an
    agreement at the 5% level.
    """

    spearman: float | None  # Pearson's correlation of the ranks; equal values have their mean rank
    kendall: float | None  # Kendall's tau-b
    p: float | None  # the two-sided p-value of Kendall's tau
    n: int  # the number of things


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Spearman's and Kendall's rank correlation of two measures of the same things.

    `first[i]` and `second[i]` are the two measures of the same thing. All things must have the same IPC and the same
    rate policy (how the learning rate of the evaluation is found). Otherwise the IPC decides most of the order, and
    both measures agree about it. Raises ConfigError if the lengths differ.
    """
    if len(first) != len(second):
        raise ConfigError(f"{len(first)} and {len(second)} values: expected two measures of the same things")
    n = len(first)
    if n < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return RankCorrelation(None, None, None, n)
    from scipy import stats

    tau = stats.kendalltau(first, second)
    return RankCorrelation(float(stats.spearmanr(first, second).statistic), float(tau.statistic), float(tau.pvalue), n)


def kendall_interval(
    first: npt.ArrayLike, second: npt.ArrayLike, generator: np.random.Generator, draws: int = 2000
) -> tuple[float, float] | None:
    """The 95% bootstrap interval of Kendall's tau-b between two measures, as (low, high).

    `first` [k, S, R] and `second` [k, S, Q] are the values of k things, of the same S condensation seeds, and of R or Q
    networks. All things have the same IPC and rate policy. For tau-b, each thing has one value of each measure: its
    mean over seeds and networks.

    Each of the `draws` draws resamples the seeds, in the same way for all things and both measures. It also resamples
    the networks of each measure, in the same way for all things. The ends of the interval are percentiles of tau over
    the draws. Draws in which a measure is equal for all things are left out. The interval is wide if differences
    between things are near 0.

    The result is None for fewer than three things, for fewer than three seeds, and if no draw is left. With three to
    five seeds the interval is too narrow: the true uncertainty is at least this large. Raises ConfigError if `first`
    and `second` differ in the number of things or seeds.

    Source: Owen (2007), "The pigeonhole bootstrap".
    """
    import numpy as np

    a = checked(first, dimensions=3, shape="a table [things, condensations, networks]")
    b = checked(second, dimensions=3, shape="a table [things, condensations, networks]")
    things, seeds, _ = a.shape
    if a.shape[:2] != b.shape[:2]:
        raise ConfigError(
            f"tables {list(a.shape)} and {list(b.shape)}: expected the same things and condensation seeds"
        )
    if things < 3 or seeds < FEWEST:
        return None
    chosen = _weights(generator, draws, seeds)
    means = [np.einsum("ksr,ds,dr->dk", each, chosen, _weights(generator, draws, each.shape[2])) for each in (a, b)]
    one, other = np.triu_indices(things, 1)
    signs = [np.sign(np.round(each[:, one] - each[:, other], 12)) for each in means]  # means equal up to rounding tie
    untied = np.sqrt((signs[0] ** 2).sum(axis=1) * (signs[1] ** 2).sum(axis=1))
    kept = untied > 0
    if not kept.any():
        return None
    tau = (signs[0] * signs[1]).sum(axis=1)[kept] / untied[kept]
    low, high = np.quantile(tau, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _weights(generator: np.random.Generator, draws: int, size: int) -> npt.NDArray[np.float64]:
    """Weights [draws, size]: how often each of `size` units is drawn with replacement, divided by `size`."""
    import numpy as np

    return generator.multinomial(size, np.full(size, 1 / size), size=draws) / size
