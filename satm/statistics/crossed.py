"""The mean of a table of condensation seeds × networks. Its standard error includes the chance of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from satm.errors import ConfigError
from satm.statistics.estimate import FEWEST, ROUNDING, Estimate, center, listed, sample, spread

if TYPE_CHECKING:
    import numpy.typing as npt

Table: TypeAlias = tuple[tuple[float, ...], ...]
"""The values y [S, R], with a row for each of S condensations and a column for each of R networks."""

THIS_SET = "this set only"
THIS_NETWORK = "this network only"
CROSSED = "new condensations and new networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed(Estimate):
    """The mean of a table y [S, R]: each of S condensations is evaluated by networks with the same R starts.

    `between_condensations`, `between_networks` and `rest` are standard deviations, estimated as components of variance
    by the method of moments. They are at least 0, and None if the table has too few rows or columns to estimate them.
    The first can be 0 although the condensations have different means, if these differ no more than the remainder makes
    them differ. With one condensation, `between_networks` is the standard deviation of its networks. With one network,
    `between_condensations` is the standard deviation of the condensations.
    """

    seeds: int  # S
    networks: int  # R
    between_condensations: float | None
    between_networks: float | None
    rest: float | None  # of single values, after the effects of their condensation and of their network are subtracted
    std_of_means: float | None  # the sample standard deviation of the means of the rows; None for one condensation


@dataclass(frozen=True, slots=True)
class Common:
    """Tables [S, R] of the condensation seeds and networks that all groups of sets have."""

    seeds: tuple[int, ...]  # the S condensation seeds, which are the rows
    networks: tuple[int, ...]  # the numbers of the R networks, which are the columns
    tables: tuple[Table, ...]  # one table for each group, in the order in which the groups were given
    left_out: int  # the number of values that are in no table


def crossed(y: npt.ArrayLike) -> Crossed:
    """The mean of y [S, R], with the standard error of a design with two crossed random effects.

    With ȳ_s· the mean of row s, ȳ_·r that of column r and ȳ that of all values, the mean squares are
    MS_S = R Σ(ȳ_s· − ȳ)²/(S − 1), MS_N = S Σ(ȳ_·r − ȳ)²/(R − 1), MS_E = Σ(y − ȳ_s· − ȳ_·r + ȳ)²/((S − 1)(R − 1)).
    SE² = V/(SR) with V = MS_S + MS_N − MS_E, at least max(MS_S, MS_N).

    The degrees of freedom are Satterthwaite's, V²/[MS_S²/(S − 1) + MS_N²/(R − 1) + MS_E²/((S − 1)(R − 1))]. If V was
    raised to the larger one of MS_S and MS_N, they are the degrees of freedom of this mean square. They are never below
    min(S, R) − 1.

    `n` is the number of condensations. With one condensation it is the number of networks, and the scope is "this set
    only": SE² = s²/R says nothing about the method (s² is the variance of the networks). With one network, SE² = s²/S
    (s² is the variance of the condensations), and the scope is "this network only".

    Raises ConfigError for rows of different lengths, and for values that are not numbers. `common` makes tables that
    have neither.

    Source: Satterthwaite (1946), "An approximate distribution of estimates of variance components"; Searle, Casella and
    McCulloch (1992), "Variance Components".
    """
    table = _table(y)
    seeds, networks = len(table), len(table[0])
    if seeds == 1 or networks == 1:
        return _single(table)
    ms_s, ms_n, ms_e = _mean_squares(table)
    larger, raw = max(ms_s, ms_n), ms_s + ms_n - ms_e
    terms = ms_s**2 / (seeds - 1) + ms_n**2 / (networks - 1) + ms_e**2 / ((seeds - 1) * (networks - 1))
    own = (seeds if ms_s >= ms_n else networks) - 1.0
    freedom = own if raw <= larger else raw**2 / terms
    return Crossed(
        mean=center([value for row in table for value in row]),
        se=math.sqrt(max(raw, larger) / (seeds * networks)),
        freedom=max(freedom, min(seeds, networks) - 1.0),
        n=seeds,
        counts="condensations",
        scope=CROSSED,
        seeds=seeds,
        networks=networks,
        between_condensations=math.sqrt(max(ms_s - ms_e, 0.0) / networks),
        between_networks=math.sqrt(max(ms_n - ms_e, 0.0) / seeds),
        rest=math.sqrt(ms_e),
        std_of_means=math.sqrt(ms_s / networks),
    )


def common(*groups: Mapping[int, Mapping[int, float]]) -> Common:
    """Tables of the condensation seeds and networks that all `groups` have.

    A group maps each seed to its networks, and each network to its accuracy. Only a seed that every group has is kept,
    and only a network that all kept seeds of all groups have. So one seed with few networks removes networks from all
    seeds; `left_out` says how many values are removed. Raises ConfigError if nothing is common.
    """
    if not groups:
        raise ConfigError("no group to compare; expected one or more")
    seeds = sorted(set.intersection(*(set(group) for group in groups)))
    if not seeds:
        had = " and ".join(str(sorted(group)) for group in groups)
        raise ConfigError(f"groups of seeds {had} share no seed; condense and evaluate the same seeds")
    networks = sorted(set.intersection(*(set(group[seed]) for group in groups for seed in seeds)))
    if not networks:
        raise ConfigError(f"seeds {seeds} share no network; evaluate all of them with the same number of networks")
    tables = tuple(tuple(tuple(group[seed][each] for each in networks) for seed in seeds) for group in groups)
    total = sum(len(values) for group in groups for values in group.values())
    return Common(tuple(seeds), tuple(networks), tables, total - len(groups) * len(seeds) * len(networks))


def fullest(*groups: Mapping[int, Mapping[int, float]]) -> Common | None:
    """Tables as those of `common`, but without seeds that would make the tables small; None if nothing is common.

    Of all possible tables, those with the most values are returned, and tables of fewer than three seeds only if no
    others are possible. So a seed whose evaluation has only begun does not remove networks from the other seeds, if at
    least three other seeds remain.
    """
    seeds = sorted(set.intersection(*(set(group) for group in groups))) if groups else []
    shared = {seed: frozenset.intersection(*(frozenset(group[seed]) for group in groups)) for seed in seeds}
    best: tuple[tuple[bool, int, int], list[int]] | None = None
    for networks in sorted(set(shared.values()) - {frozenset()}, key=sorted):
        kept = [seed for seed in seeds if networks <= shared[seed]]
        size = (len(kept) >= FEWEST, len(kept) * len(networks), len(kept))
        if best is None or size > best[0]:
            best = size, kept
    if best is None:
        return None
    found = common(*({seed: group[seed] for seed in best[1]} for group in groups))
    total = sum(len(values) for group in groups for values in group.values())
    return replace(found, left_out=total - len(groups) * len(found.seeds) * len(found.networks))


def _table(y: npt.ArrayLike) -> Table:
    """`y` as rows of floats. Raises ConfigError if it is not a table, and for NaN and infinity."""
    shape = "a table [condensations, networks]"
    found: Any = y.tolist() if hasattr(y, "tolist") else y
    try:
        lengths = sorted({len(row) for row in found})
    except TypeError:
        raise ConfigError(f"values that are in no rows: expected {shape}, one or more") from None
    if len(lengths) > 1:
        raise ConfigError(f"rows of different lengths: expected {shape}; keep what all have (`common`)")
    values = listed([value for row in found for value in row], shape=shape)
    return tuple(tuple(values[start : start + lengths[0]]) for start in range(0, len(values), lengths[0]))


def _mean_squares(table: Table) -> tuple[float, float, float]:
    """The mean squares MS_S, MS_N and MS_E of y [S, R], as `crossed` defines them. Pure rounding errors become 0."""
    seeds, networks = len(table), len(table[0])
    mean = math.fsum(value for row in table for value in row) / (seeds * networks)
    by_seed = [math.fsum(row) / networks - mean for row in table]
    by_network = [math.fsum(column) / seeds - mean for column in zip(*table, strict=True)]
    rest = [table[s][r] - mean - by_seed[s] - by_network[r] for s in range(seeds) for r in range(networks)]
    return (
        _squares(by_seed) * networks / (seeds - 1),
        _squares(by_network) * seeds / (networks - 1),
        _squares(rest) / ((seeds - 1) * (networks - 1)),
    )


def _squares(effects: Sequence[float]) -> float:
    return math.fsum(effect**2 for effect in effects if abs(effect) > ROUNDING)


def _single(table: Table) -> Crossed:
    """The mean of a table with one row or one column, whose values are independent of each other."""
    seeds, networks = len(table), len(table[0])
    counts, scope = ("networks", THIS_SET) if seeds == 1 else ("condensations", THIS_NETWORK)
    values = [value for row in table for value in row]
    found = sample(values, counts=counts, scope=scope)
    std = None if len(values) == 1 else spread(values)
    return Crossed(
        mean=found.mean,
        se=found.se,
        freedom=found.freedom,
        n=found.n,
        counts=counts,
        scope=scope,
        seeds=seeds,
        networks=networks,
        between_condensations=std if seeds > 1 else None,
        between_networks=std if networks > 1 else None,
        rest=None,
        std_of_means=std if seeds > 1 else None,
    )
