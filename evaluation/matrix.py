"""Accuracies of groups × architectures, with their intervals, drops, paired differences and rank correlations."""

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
"""Accuracies, as fractions, by the seed of the condensation, then by repeat."""

TWO_SETS = "these two sets only"
AND_DRAWS = "new condensations and new draws"
FEWEST_SETS = 3  # two sets have one order or the other by chance
FEWEST_SEEDS = 3  # for `kendall_interval`


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The mean accuracy of a row on one architecture, over all networks: those that diverged count as chance, 1/K."""

    estimate: Estimate  # it says what its n counts, and what its interval speaks of
    interval: tuple[float, float] | None  # 95%, within 0 and 1; None for fewer than three condensations, or networks
    condensations: int
    networks: int  # of each condensation; with random images, draws
    between_condensations: float | None  # standard deviations; None if one value cannot tell
    between_networks: float | None
    diverged: int
    survivors: tuple[float, ...]  # the accuracies of the networks that did not diverge
    left_out: int  # values of networks that not every condensation has; the mean is without them


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """The accuracies of one group, or of random real images in its place, on every architecture.

    A group holds sets that differ in the seed of their condensation and in nothing else; it can be a single set.
    """

    name: str  # of the group
    memory: str  # condensed or random, with its prefix
    profile: str
    own: str  # the architecture that the sets were made with: "in-domain"
    ipc: int  # images per class that networks are trained on
    accuracies: Mapping[str, Values]  # of networks that did not diverge, by architecture
    draws: bool = False  # each network has random images of its own, the same for every condensation: one seed is there
    origins: frozenset[str] = frozenset()  # rows that share one are siblings, or come from one set
    images: int | None = None  # test images, if they are known
    adaptations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # to the images, by architecture
    diverged: Mapping[str, Mapping[int, frozenset[int]]] = field(default_factory=dict)
    """By architecture, then seed: the repeats of the networks that diverged."""
    chance: float | None = None  # 1/K: the accuracy that a diverged network counts with
    policies: Mapping[str, str] = field(default_factory=dict)  # learned, grid or fixed, by architecture
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # the learning rates, by architecture

    def score(self, architecture: str) -> Score | None:
        """The mean over condensations and networks with its interval; None if no network was trained.

        It is the crossed estimate of `satm.statistics.crossed`. For random images it is that of `fresh_draws`. Raises
        ConfigError if networks diverged and `chance` is not known, and if the condensations have no network in common.
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
        """Accuracy on the sets' own architecture minus that on this one; None for their own.

        It is paired by seed and repeat, since the condensation is the same on both sides, and so are random images.
        """
        if architecture == self.own:
            return None
        found = _paired(self.values(self.own), self.values(architecture))
        if found is None or not self.draws:
            return found
        (draws,) = self.values(architecture).values()
        return replace(found, scope=fresh_draws(list(draws.values())).scope)

    def difference(self, other: MatrixRow, architecture: str) -> Crossed | None:
        """This accuracy minus that of `other`, with the crossed standard error of the difference.

        - Two groups: paired by seed and by repeat. Networks of one repeat start from the same weights.
        - Two single sets: paired by repeat, whatever their seeds. It speaks of these two sets only.
        - Random images as `other`: they belong to no seed. The network of repeat r is compared with the same repeat of
          every condensation, so that its draw counts as an effect of r.

        None if the two have no network in common.
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
        """The accuracies of all networks by seed, then by repeat; a network that diverged has the value 1/K.

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
    """How well the order of the groups on an architecture agrees with their order in-domain.

    `missing` says why there is no correlation, or no interval; it is empty if there are both.
    """

    correlation: RankCorrelation | None = None
    interval: tuple[float, float] | None = None  # 95%, of Kendall's tau, by a bootstrap of seeds, then networks
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Accuracies of groups × architectures under one recipe, and for each group the row it is compared with."""

    recipe: str  # its name
    policy: str = ""  # the policy of the learning rate: learned, grid or fixed; "" if it is not known
    architectures: tuple[str, ...]  # the sets' own first
    sets: tuple[MatrixRow, ...]  # one a group
    randoms: tuple[MatrixRow, ...] = ()  # random images; groups for which they are the same share a row
    against: Mapping[str, MatrixRow] = field(default_factory=dict)  # by the name of the group

    @property
    def rows(self) -> tuple[MatrixRow, ...]:
        """The groups, then random images."""
        return (*self.sets, *self.randoms)

    def difference(self, row: MatrixRow, architecture: str) -> Crossed | None:
        """`row` minus the row that it is compared with; None if there is none or it is `row`."""
        other = self.against.get(row.name) if row in self.sets else None
        return None if other is None or other is row else row.difference(other, architecture)

    def ranked(self, architecture: str) -> tuple[MatrixRow, ...]:
        """The groups that have accuracies on `architecture` and in-domain, without those that were made with it."""
        return tuple(
            row for row in self.sets if row.own != architecture and row.values(row.own) and row.values(architecture)
        )

    def ranking(self, architecture: str) -> Ranking:
        """The rank correlation of the groups' mean accuracies on `architecture` with those in-domain.

        There is one only for three or more groups of one IPC and one policy of the learning rate. No two of them may be
        siblings or come from one set: these are ordered alike for other reasons than the architecture. The interval of
        Kendall's tau needs three seeds that all groups have.
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
    """Columns and lines of a table with one line for each group and architecture; numbers are fractions.

    `mean` and `std` are those of the networks that did not diverge. All other numbers count a diverged network as
    chance: `mean_all`, its interval from `low` to `high`, and the standard deviations between condensations and between
    networks. `n` is the number of `counts` (condensations, networks or draws) behind that interval. The ends of an
    interval are None for fewer than three of them. `rate` is None if the sets of a group have several.
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
    """The low and the high end of the 95% t-interval; None if there is no estimate, or fewer than three units."""
    return (None, None) if found is None else found.ends() or (None, None)


def _paired(mine: Values, theirs: Values) -> Crossed | None:
    """`mine` − `theirs` over the seeds and repeats that both have; None if there are none."""
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
    """The mean, and the population standard deviation, as the field reports it; None without values."""
    return (statistics.fmean(values), statistics.pstdev(values)) if values else (None, None)
