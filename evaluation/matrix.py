"""Accuracies of sets × architectures, with their intervals, drops, paired differences and rank correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from satm.errors import ConfigError
from satm.statistics import (
    Interval,
    RankCorrelation,
    difference_interval,
    interval,
    paired_interval,
    rank_correlation,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """The accuracies of one set, or of random real images in its place, on every architecture."""

    name: str  # of the set
    memory: str  # condensed or random, with its prefix
    profile: str
    own: str  # the architecture that the set was made with: "in-domain"
    accuracies: Mapping[str, Mapping[int, float]]  # fractions, by architecture, then repeat
    adaptations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # to the images, by architecture
    diverged: Mapping[str, int] = field(default_factory=dict)  # networks that diverged, by architecture
    chance: float | None = None  # 1/K: the accuracy that a diverged network counts with
    policies: Mapping[str, str] = field(default_factory=dict)  # learned, grid or fixed, by architecture
    rates: Mapping[str, float] = field(default_factory=dict)  # the learning rate, by architecture

    def score(self, architecture: str) -> Interval | None:
        """The mean over networks with its interval; None if no network was trained, or if all diverged."""
        values = self._values(architecture)
        return interval(values) if values else None

    def score_all(self, architecture: str) -> Interval | None:
        """The mean over all networks, of which those that diverged count as chance, 1/K.

        None if no network was trained. Raises ConfigError if networks diverged and `chance` is not known.
        """
        lost = self.diverged.get(architecture, 0)
        if lost and self.chance is None:
            raise ConfigError(f"{self.name}: {lost} networks diverged and the chance accuracy is not known; set chance")
        values = [*self._values(architecture), *[self.chance or 0.0] * lost]
        return interval(values) if values else None

    def drop(self, architecture: str) -> Interval | None:
        """Accuracy on the set's own architecture minus that on this one, with Welch's interval; None for its own."""
        inside, outside = self._values(self.own), self._values(architecture)
        return difference_interval(inside, outside) if inside and outside and architecture != self.own else None

    def difference(self, other: MatrixRow, architecture: str) -> Interval | None:
        """This accuracy minus that of `other`, paired by repeat: networks of one repeat start from the same weights."""
        mine, theirs = self.accuracies.get(architecture, {}), other.accuracies.get(architecture, {})
        pairs = sorted(mine.keys() & theirs.keys())
        return paired_interval([mine[k] for k in pairs], [theirs[k] for k in pairs]) if pairs else None

    def _values(self, architecture: str) -> list[float]:
        by_repeat = self.accuracies.get(architecture, {})
        return [by_repeat[repeat] for repeat in sorted(by_repeat)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Accuracies of sets × architectures under one recipe, and for each set the row that it is compared with."""

    recipe: str  # its name
    policy: str = ""  # the policy of the learning rate: learned, grid or fixed; "" if it is not known
    architectures: tuple[str, ...]  # the sets' own first
    sets: tuple[MatrixRow, ...]
    randoms: tuple[MatrixRow, ...] = ()  # random images; sets for which they are the same share a row
    against: Mapping[str, MatrixRow] = field(default_factory=dict)  # by the name of the set

    @property
    def rows(self) -> tuple[MatrixRow, ...]:
        """The sets, then random images."""
        return (*self.sets, *self.randoms)

    def difference(self, row: MatrixRow, architecture: str) -> Interval | None:
        """`row` minus the row that it is compared with, paired by repeat; None if there is none or it is `row`."""
        other = self.against.get(row.name) if row in self.sets else None
        return None if other is None or other is row else row.difference(other, architecture)

    def rank_correlation(self, architecture: str) -> RankCorrelation:
        """Rank correlation of the sets' mean accuracies on `architecture` with those in-domain.

        Leaves out the sets that were made with this architecture.
        """
        pairs = [
            (inside.mean, outside.mean)
            for row in self.sets
            if row.own != architecture
            and (inside := row.score(row.own)) is not None
            and (outside := row.score(architecture)) is not None
        ]
        return rank_correlation([inside for inside, _ in pairs], [outside for _, outside in pairs])


def cells(matrix: Matrix) -> tuple[list[str], list[list[Any]]]:
    """Columns and lines of a table with one line for each set and architecture; numbers are fractions.

    The ends of an interval are None if there is only one value.
    """
    columns = ["set", "memory", "profile", "recipe", "architecture", "in_domain", "adaptation", "n", "mean", "std"]
    columns += ["low", "high", "policy", "rate", "diverged", "mean_all", "drop", "drop_low", "drop_high"]
    columns += ["against", "difference", "difference_low", "difference_high", "pairs"]
    columns += ["spearman", "kendall", "kendall_p", "sets_ranked"]
    lines: list[list[Any]] = []
    for row in matrix.rows:
        for architecture in matrix.architectures:
            score, total = row.score(architecture), row.score_all(architecture)
            if total is None:
                continue
            drop, difference = row.drop(architecture), matrix.difference(row, architecture)
            other = matrix.against.get(row.name) if difference else None
            ranks = matrix.rank_correlation(architecture)
            lines.append(
                [
                    *(row.name, row.memory, row.profile, matrix.recipe, architecture, architecture == row.own),
                    dict(row.adaptations.get(architecture, {})),
                    *((score.n, score.mean, score.std) if score else (0, None, None)),
                    *(*ends(score), row.policies.get(architecture), row.rates.get(architecture)),
                    *(row.diverged.get(architecture, 0), total.mean),
                    *(drop and drop.mean, *ends(drop)),
                    *(other and (other.name if other in matrix.sets else other.memory), difference and difference.mean),
                    *(*ends(difference), difference and difference.n),
                    *(ranks.spearman, ranks.kendall, ranks.p, ranks.n),
                ]
            )
    return columns, lines


def ends(found: Interval | None) -> Sequence[float | None]:
    """The low and the high end; None if there is no interval, or only one value."""
    return (None, None) if found is None or found.n < 2 else (found.low, found.high)
