"""The matrix of sets × architectures as numbers: intervals, drops, paired differences, agreement of orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from satm.statistics import (
    Interval,
    RankCorrelation,
    difference_interval,
    interval,
    paired_interval,
    rank_correlation,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One memory (a set, or random real images in its place) on every architecture."""

    name: str  # of the set
    memory: str  # condensed or random, with its prefix
    profile: str
    own: str  # the architecture the set was made with: "in-domain"
    accuracies: Mapping[str, Mapping[int, float]]  # fractions, by architecture, then repeat
    adaptations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # to the images, by architecture

    def score(self, architecture: str) -> Interval | None:
        """The mean over networks; None where none was trained."""
        values = self._values(architecture)
        return interval(values) if values else None

    def drop(self, architecture: str) -> Interval | None:
        """What is lost from the set's own architecture to this one, with Welch's interval; None for its own."""
        inside, outside = self._values(self.own), self._values(architecture)
        return difference_interval(inside, outside) if inside and outside and architecture != self.own else None

    def difference(self, other: Line, architecture: str) -> Interval | None:
        """This line minus `other`, paired by repeat: networks of one repeat start from the same weights."""
        mine, theirs = self.accuracies.get(architecture, {}), other.accuracies.get(architecture, {})
        pairs = sorted(mine.keys() & theirs.keys())
        return paired_interval([mine[k] for k in pairs], [theirs[k] for k in pairs]) if pairs else None

    def _values(self, architecture: str) -> list[float]:
        by_repeat = self.accuracies.get(architecture, {})
        return [by_repeat[repeat] for repeat in sorted(by_repeat)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Sets × architectures under one recipe, with what they are compared with."""

    recipe: str  # its name
    architectures: tuple[str, ...]  # the sets' own first
    sets: tuple[Line, ...]
    randoms: tuple[Line, ...] = ()  # one for every kind of set among them
    against: Mapping[str, Line] = field(default_factory=dict)  # what each set is compared with, by its name

    @property
    def lines(self) -> tuple[Line, ...]:
        """Sets, then random images."""
        return (*self.sets, *self.randoms)

    def difference(self, line: Line, architecture: str) -> Interval | None:
        """The paired difference of a set to what it is compared with; None where that is nothing or itself."""
        other = self.against.get(line.name) if line in self.sets else None
        return None if other is None or other is line else line.difference(other, architecture)

    def rank_correlation(self, architecture: str) -> RankCorrelation:
        """Whether the sets come in the same order on `architecture` as in-domain, by their means.

        A set whose own architecture it is has no place in it.
        """
        pairs = [
            (inside.mean, outside.mean)
            for line in self.sets
            if line.own != architecture
            and (inside := line.score(line.own)) is not None
            and (outside := line.score(architecture)) is not None
        ]
        return rank_correlation([inside for inside, _ in pairs], [outside for _, outside in pairs])


def cells(matrix: Matrix) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows, one row a cell, numbers as fractions; an interval without ends is left out."""
    columns = ["set", "memory", "profile", "recipe", "architecture", "in_domain", "adaptation", "n", "mean", "std"]
    columns += ["low", "high", "drop", "drop_low", "drop_high"]
    columns += ["against", "difference", "difference_low", "difference_high", "pairs"]
    columns += ["spearman", "kendall", "kendall_p", "sets_ranked"]
    rows: list[list[Any]] = []
    for line in matrix.lines:
        for architecture in matrix.architectures:
            if (score := line.score(architecture)) is None:
                continue
            drop, difference = line.drop(architecture), matrix.difference(line, architecture)
            other = matrix.against.get(line.name) if difference else None
            ranks = matrix.rank_correlation(architecture)
            about = [line.name, line.memory, line.profile, matrix.recipe, architecture, architecture == line.own]
            rows.append(
                [
                    *about,
                    dict(line.adaptations.get(architecture, {})),
                    *(score.n, score.mean, score.std, *ends(score)),
                    *(drop and drop.mean, *ends(drop)),
                    *(other and (other.name if other in matrix.sets else other.memory), difference and difference.mean),
                    *(*ends(difference), difference and difference.n),
                    *(ranks.spearman, ranks.kendall, ranks.p, ranks.n),
                ]
            )
    return columns, rows


def ends(found: Interval | None) -> Sequence[float | None]:
    """Low and high end; None for an interval that has none."""
    return (None, None) if found is None or found.n < 2 else (found.low, found.high)
