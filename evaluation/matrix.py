"""A matrix of accuracies: a row for each group of sets, a column for each architecture that they are evaluated on.

A group holds sets that differ only in the seed of their condensation. This file computes the mean of each cell with its
interval, the drop from the architecture that the sets were made with, the differences between rows, and the rank
correlation between columns. All accuracies are fractions.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from satm.errors import ConfigError
from satm.statistics import (
    Crossed,
    Estimate,
    RankCorrelation,
    accuracy_interval,
    common,
    compare,
    crossed,
    fresh_draws,
    kendall_interval,
    rank_correlation,
)

Values = Mapping[int, Mapping[int, float]]
"""Accuracies (fractions): seed of the condensation → repeat → accuracy of the network of this repeat."""

# Texts for `Estimate.scope`. They say for which sets and images the interval of a difference holds.
TWO_SETS = "these two sets only"
AND_DRAWS = "new condensations and new draws"
FEWEST_SETS = 3  # a rank correlation needs at least as many sets; the order of two sets is often a matter of chance
FEWEST_SEEDS = 3  # the fewest seeds for which `kendall_interval` gives an interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The mean accuracy of a row on one architecture, over all condensations and networks.

    A network that diverged has the accuracy of a guess, 1/K for K classes.
    """

    estimate: Estimate  # the mean and its standard error
    # The 95% interval of the mean, within 0 and 1. None if the estimate has fewer than three independent units, which
    # are condensations, networks or draws (`Estimate.counts`).
    interval: tuple[float, float] | None
    condensations: int  # the number of condensations
    networks: int  # the number of networks of each condensation; for random images, the number of draws
    # The standard deviation between condensations, and that between networks. None if it cannot be computed, for
    # example from a single condensation.
    between_condensations: float | None
    between_networks: float | None
    diverged: int  # the number of networks that diverged
    survivors: tuple[float, ...]  # the accuracies of the networks that did not diverge
    # The number of accuracies that the mean leaves out. It has only the repeats that are trained for all condensations.
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """The accuracies on every architecture of networks trained on the sets of one group, or on as many random images.

    A group holds sets that differ only in the seed of their condensation. It can be a single set.
    """

    name: str  # the name of the group
    # What the networks are trained on: "condensed" or "random". A note in brackets, as in "condensed[:3]", says that
    # only the first 3 images of each class are used.
    memory: str
    profile: str
    own: str  # the architecture that the sets were made with; the accuracy on it is called "in-domain"
    ipc: int  # the images per class that networks are trained on
    accuracies: Mapping[str, Values]  # the accuracies of the networks that did not diverge, by architecture
    # Whether the networks are trained on random images. Each network then has its own draw of images, which does not
    # depend on a condensation. So `accuracies` has only one seed.
    draws: bool = False
    # Labels of what the sets were made from, for example of a run. If two rows have a common label, their accuracies
    # depend on each other.
    origins: frozenset[str] = frozenset()
    images: int | None = None  # the number of test images; None if it is not known
    # How the networks were changed to fit the images (`NetworkPlan.adaptation`), by architecture.
    adaptations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    diverged: Mapping[str, Mapping[int, frozenset[int]]] = field(default_factory=dict)
    """The repeats of the networks that diverged: architecture → seed of the condensation → repeats."""
    chance: float | None = None  # 1/K, the accuracy that a diverged network gets; None if K is not known
    # How the learning rates were found ("learned", "grid" or "fixed"), by architecture.
    policies: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # the learning rates, by architecture

    def score(self, architecture: str) -> Score | None:
        """The mean over condensations and networks with its interval; None if no network was trained.

        For sets, the estimate is that of `satm.statistics.crossed`. For random images, it is that of `fresh_draws`.
        Raises ConfigError if networks diverged and `chance` is not known, or if no network (repeat) was trained for all
        condensations.
        """
        values = self.values(architecture)
        if not values:
            return None
        table = common(values)
        found = crossed(table.tables[0])
        estimate = fresh_draws(table.tables[0][0]) if self.draws else found
        return Score(
            estimate=estimate,
            interval=accuracy_interval(estimate, images=self.images),
            condensations=found.seeds,
            networks=found.networks,
            between_condensations=found.between_condensations,
            between_networks=found.between_networks,
            diverged=sum(map(len, self.diverged.get(architecture, {}).values())),
            survivors=tuple(
                value
                for by_repeat in self.accuracies.get(architecture, {}).values()
                for _, value in sorted(by_repeat.items())
            ),
            left_out=table.left_out,
        )

    def drop(self, architecture: str) -> Crossed | None:
        """The accuracy on the sets' own architecture minus the accuracy on `architecture`.

        The difference is paired by seed and repeat, because both sides use the same condensations, or the same random
        images. None if `architecture` is the sets' own, or if the two sides have no network in common.
        """
        if architecture == self.own:
            return None
        found = _paired(self.values(self.own), self.values(architecture))
        if found is None or not self.draws:
            return found
        (draws,) = self.values(architecture).values()
        return replace(found, scope=fresh_draws(list(draws.values())).scope)

    def difference(self, other: MatrixRow, architecture: str) -> Crossed | None:
        """The accuracy of this row minus that of `other`, with the standard error of `satm.statistics.crossed`.

        - Two groups are paired by seed and by repeat. Networks of the same repeat start from the same weights.
        - Two single sets are paired by repeat, and their seeds may differ. The interval is about these two sets only.
        - If `other` is a row of random images, its networks belong to no seed. Its network of repeat r is compared with
          the network of repeat r of every condensation. So the effect of the drawn images is a part of the effect of
          repeat r.

        None if the two rows have no network in common.
        """
        mine, theirs = self.values(architecture), other.values(architecture)
        single = len(mine) == len(theirs) == 1
        if theirs and (other.draws or single):
            (only,) = theirs.values()
            theirs = dict.fromkeys(mine, only)
        found = _paired(mine, theirs)
        if found is None or (other.draws and found.seeds == 1):
            return found
        if single:
            return replace(found, scope=TWO_SETS)
        return replace(found, scope=AND_DRAWS) if other.draws and found.networks >= FEWEST_SETS else found

    def values(self, architecture: str) -> dict[int, dict[int, float]]:
        """The accuracies of all networks by seed, then by repeat. A network that diverged has the accuracy 1/K.

        Raises ConfigError if networks diverged and `chance` is not known.
        """
        found = {seed: dict(by_repeat) for seed, by_repeat in self.accuracies.get(architecture, {}).items()}
        for seed, repeats in self.diverged.get(architecture, {}).items():
            if repeats and self.chance is None:
                raise ConfigError(
                    f"{self.name}: {len(repeats)} networks diverged and the chance accuracy is not known; set chance"
                )
            for repeat in repeats:
                found.setdefault(seed, {})[repeat] = self.chance or 0.0
        return {seed: found[seed] for seed in sorted(found) if found[seed]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How well the order of the groups by accuracy on an architecture agrees with their order in-domain."""

    correlation: RankCorrelation | None = None
    interval: tuple[float, float] | None = None  # the 95% bootstrap interval of Kendall's tau (`kendall_interval`)
    missing: str = ""  # why there is no correlation or no interval; "" if there are both


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The accuracies of groups on several architectures under one recipe."""

    recipe: str  # the name of the recipe
    policy: str = ""  # how learning rates are found: "learned", "grid" or "fixed"; "" if it is not known
    architectures: tuple[str, ...]  # the architectures that the sets were made with come first
    sets: tuple[MatrixRow, ...]  # one row for each group
    randoms: tuple[MatrixRow, ...] = ()  # the rows of random images; several groups may share such a row
    # The row that each group is compared with, by the name of the group.
    against: Mapping[str, MatrixRow] = field(default_factory=dict)

    @property
    def rows(self) -> tuple[MatrixRow, ...]:
        """The rows of the groups, then the rows of random images."""
        return (*self.sets, *self.randoms)

    def difference(self, row: MatrixRow, architecture: str) -> Crossed | None:
        """The accuracy of `row` minus that of the row it is compared with (`against`).

        None if there is no such row, or if it is `row` itself.
        """
        other = self.against.get(row.name) if row in self.sets else None
        return None if other is None or other is row else row.difference(other, architecture)

    def ranked(self, architecture: str) -> tuple[MatrixRow, ...]:
        """The groups that enter the rank correlation for `architecture`.

        They have accuracies on `architecture` and in-domain, and they were made with another architecture.
        """
        return tuple(
            row for row in self.sets if row.own != architecture and row.values(row.own) and row.values(architecture)
        )

    def ranking(self, architecture: str) -> Ranking:
        """The rank correlation of the groups' mean accuracies on `architecture` with their mean accuracies in-domain.

        A correlation needs three or more groups with the same IPC and the same policy of the learning rate. No two of
        the groups may have a common origin, because such groups are similar on every architecture for this reason
        alone. The interval of Kendall's tau needs three seeds that all groups have.
        """
        rows = self.ranked(architecture)
        if missing := _unrankable(rows, architecture):
            return Ranking(missing=missing)
        inside = [row.values(row.own) for row in rows]
        outside = [row.values(architecture) for row in rows]
        correlation = rank_correlation([_mean(each) for each in inside], [_mean(each) for each in outside])
        if correlation.kendall is None:
            return Ranking(missing="all sets are equal in-domain, or here")
        seeds = set.intersection(*(set(values) for values in (*inside, *outside)))
        if len(seeds) < FEWEST_SEEDS:
            return Ranking(correlation=correlation, missing="no interval: it needs three seeds that all groups have")
        import numpy as np

        first, second = (
            np.stack(common(*({seed: values[seed] for seed in seeds} for values in side)).tables)
            for side in (inside, outside)
        )
        ends = kendall_interval(first, second, np.random.default_rng(0))
        return Ranking(correlation=correlation, interval=ends)


def cells(matrix: Matrix) -> tuple[list[str], list[list[Any]]]:
    """The names of the columns and the lines of a table with one line for each group and architecture.

    All accuracies are fractions. `mean` and `std` are those of the networks that did not diverge. In all other
    numbers, a diverged network has the accuracy of a guess, 1/K. `mean_all` is the mean with these networks, and `low`
    and `high` are the ends of its interval. `n` is the number of independent units behind the interval. The column
    `counts` says whether these units are condensations, networks or draws. With fewer than three units, the ends of the
    interval are None. `rate` is None if the sets of a group have different learning rates.
    """
    columns = ["set", "memory", "profile", "recipe", "architecture", "in_domain", "adaptation", "n", "mean", "std"]
    columns += ["low", "high", "counts", "condensations", "networks", "std_condensations", "std_networks"]
    columns += ["policy", "rate", "diverged", "mean_all", "drop", "drop_low", "drop_high"]
    columns += ["against", "difference", "difference_low", "difference_high", "pairs"]
    columns += ["spearman", "kendall", "kendall_p", "kendall_low", "kendall_high", "sets_ranked"]
    lines: list[list[Any]] = []
    for row in matrix.rows:
        for architecture in matrix.architectures:
            score = row.score(architecture)
            if score is None:
                continue
            drop, difference = row.drop(architecture), matrix.difference(row, architecture)
            other = matrix.against.get(row.name) if difference else None
            rates = row.rates.get(architecture, ())
            lines.append(
                [
                    *(row.name, row.memory, row.profile, matrix.recipe, architecture, architecture == row.own),
                    dict(row.adaptations.get(architecture, {})),
                    *(score.estimate.n, *_mean_and_std(score.survivors)),
                    *(*(score.interval or (None, None)), score.estimate.counts, score.condensations, score.networks),
                    *(score.between_condensations, score.between_networks),
                    *(row.policies.get(architecture), rates[0] if len(rates) == 1 else None),
                    *(score.diverged, score.estimate.mean),
                    *(drop and drop.mean, *ends(drop)),
                    *(other and (other.name if other in matrix.sets else other.memory), difference and difference.mean),
                    *(*ends(difference), difference and difference.n),
                    *_ranks(matrix.ranking(architecture), len(matrix.ranked(architecture))),
                ]
            )
    return columns, lines


def ends(found: Estimate | None) -> tuple[float | None, float | None]:
    """The low and the high end of the 95% t-interval of `found`.

    Both are None without an estimate, or if the estimate has fewer than three independent units.
    """
    return (None, None) if found is None else found.ends() or (None, None)


def _paired(mine: Values, theirs: Values) -> Crossed | None:
    """The paired difference `mine` − `theirs` over the seeds and repeats that both have; None if there are none."""
    try:
        first, second = common(mine, theirs).tables
    except ConfigError:
        return None
    return compare(first, second).difference


def _unrankable(rows: Sequence[MatrixRow], architecture: str) -> str:
    """Why the rows have no rank correlation; empty if they can have one."""
    if len(rows) < FEWEST_SETS:
        return f"{len(rows)} sets are too few"
    ipcs = sorted({row.ipc for row in rows})
    if len(ipcs) > 1:
        return f"IPC {', '.join(map(str, ipcs))} are mixed, and IPC orders sets by itself"
    policies = sorted({row.policies.get(name, "") for row in rows for name in (row.own, architecture)})
    if len(policies) > 1:
        return f"rates of the policies {', '.join(policies)} are mixed"
    for one, other in combinations(rows, 2):
        if one.origins & other.origins:
            return f"{one.name} and {other.name} differ in the seed only, or come from one set"
    return ""


def _ranks(found: Ranking, ranked: int) -> Iterator[float | int | None]:
    ranks = found.correlation
    yield from (None, None, None) if ranks is None else (ranks.spearman, ranks.kendall, ranks.p)
    yield from found.interval or (None, None)
    yield ranked


def _mean(values: Values) -> float:
    return crossed(common(values).tables[0]).mean


def _mean_and_std(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean and the population standard deviation, which papers report; (None, None) without values."""
    return (statistics.fmean(values), statistics.pstdev(values)) if values else (None, None)
