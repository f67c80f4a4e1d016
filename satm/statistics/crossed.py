"""The mean of condensation seeds × networks, with a standard error that both of them enter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from satm.errors import ConfigError
from satm.statistics.estimate import ROUNDING, Estimate, center, checked, sample, spread

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

THIS_SET = "this set only"
THIS_NETWORK = "this network only"
CROSSED = "new condensations and new networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed(Estimate):
    """The mean of y [S, R]: S condensations, evaluated by the same R initial networks each.

    The three standard deviations are components of variance by the method of moments, at least 0. They are None if the
    design cannot tell them. For one condensation, `between_networks` is the standard deviation of its networks. For one
    network, `between_condensations` is that of the condensations.
    """

    seeds: int  # S
    networks: int  # R
    between_condensations: float | None
    between_networks: float | None
    rest: float | None  # of a network on one condensation, after both effects


@dataclass(frozen=True, slots=True)
class Common:
    """Tables [S, R] of the seeds and networks that all groups have."""

    seeds: tuple[int, ...]
    networks: tuple[int, ...]
    tables: tuple[npt.NDArray[np.float64], ...]  # one for each group, in the order given
    left_out: int  # values that are not in the tables


def crossed(y: npt.ArrayLike) -> Crossed:
    """The mean of y [S, R] with the standard error of a crossed design of two random effects.

    MS_S = R Σ(ȳ_s· − ȳ)²/(S − 1), MS_N = S Σ(ȳ_·r − ȳ)²/(R − 1), MS_E = Σ(y − ȳ_s· − ȳ_·r + ȳ)²/((S − 1)(R − 1)).
    SE² = V/(SR) with V = MS_S + MS_N − MS_E, at least max(MS_S, MS_N). The degrees of freedom are Satterthwaite's,
    V²/[MS_S²/(S − 1) + MS_N²/(R − 1) + MS_E²/((S − 1)(R − 1))]. If V is raised to the larger mean square, they are that
    mean square's own. They are never below min(S, R) − 1.

    `n` counts the condensations. For one condensation it counts the networks, and the scope is "this set only": SE² =
    s²/R says nothing about the method. For one network, SE² = s²/S and the scope is "this network only".

    Raises ConfigError for rows of different lengths, and for values that are not numbers: use `common` first.

    Source: Satterthwaite (1946), "An approximate distribution of estimates of variance components"; Searle, Casella and
    McCulloch (1992), "Variance Components".
    """
    table = checked(y, dimensions=2, shape="a table [condensations, networks]")
    seeds, networks = table.shape
    if seeds == 1 or networks == 1:
        return _single(table)
    ms_s, ms_n, ms_e = (float(square) for square in _mean_squares(table))
    se, freedom = crossed_errors(table)
    return Crossed(
        mean=center(table),
        se=float(se),
        freedom=float(freedom),
        n=seeds,
        counts="condensations",
        scope=CROSSED,
        seeds=seeds,
        networks=networks,
        between_condensations=(max(ms_s - ms_e, 0.0) / networks) ** 0.5,
        between_networks=(max(ms_n - ms_e, 0.0) / seeds) ** 0.5,
        rest=ms_e**0.5,
    )


def crossed_errors(y: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The standard errors and degrees of freedom of `crossed` for many tables y [..., S, R] at once; S, R ≥ 2."""
    import numpy as np

    seeds, networks = y.shape[-2:]
    ms_s, ms_n, ms_e = _mean_squares(y)
    larger = np.maximum(ms_s, ms_n)
    raw = ms_s + ms_n - ms_e
    terms = ms_s**2 / (seeds - 1) + ms_n**2 / (networks - 1) + ms_e**2 / ((seeds - 1) * (networks - 1))
    own = np.where(ms_s >= ms_n, seeds - 1.0, networks - 1.0)
    freedom = np.where(raw <= larger, own, raw**2 / np.where(terms > 0, terms, 1.0))
    return np.sqrt(np.maximum(raw, larger) / (seeds * networks)), np.maximum(freedom, min(seeds, networks) - 1.0)


def common(*groups: Mapping[int, Mapping[int, float]]) -> Common:
    """Tables of the condensation seeds and networks that all `groups` have: accuracies by seed, then by network.

    A seed must be in every group. A network must be in every one of those seeds of every group. So one seed with few
    networks costs all seeds networks; `left_out` counts what is lost. Raises ConfigError if nothing is common.
    """
    import numpy as np

    if not groups:
        raise ConfigError("no group to compare; expected one or more")
    seeds = sorted(set.intersection(*(set(group) for group in groups)))
    if not seeds:
        had = " and ".join(str(sorted(group)) for group in groups)
        raise ConfigError(f"groups of seeds {had} share no seed; condense and evaluate the same seeds")
    networks = sorted(set.intersection(*(set(group[seed]) for group in groups for seed in seeds)))
    if not networks:
        raise ConfigError(f"seeds {seeds} share no network; evaluate all of them with the same number of networks")
    tables = tuple(np.array([[group[seed][each] for each in networks] for seed in seeds]) for group in groups)
    total = sum(len(values) for group in groups for values in group.values())
    return Common(tuple(seeds), tuple(networks), tables, total - sum(table.size for table in tables))


def _mean_squares(y: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """MS_S, MS_N and MS_E of y [..., S, R]; exactly 0 for effects that are equal up to rounding."""
    import numpy as np

    seeds, networks = y.shape[-2:]
    mean = y.mean(axis=(-2, -1), keepdims=True)
    by_seed = y.mean(axis=-1, keepdims=True) - mean
    by_network = y.mean(axis=-2, keepdims=True) - mean
    found = []
    for effect, scale in (
        (by_seed, networks / (seeds - 1)),
        (by_network, seeds / (networks - 1)),
        (y - mean - by_seed - by_network, 1 / ((seeds - 1) * (networks - 1))),
    ):
        size = np.where(np.abs(effect) <= ROUNDING, 0.0, effect)
        found.append(scale * (size**2).sum(axis=(-2, -1)))
    return found


def _single(table: npt.NDArray[np.float64]) -> Crossed:
    """One condensation or one network: the mean of the other's independent values."""
    seeds, networks = table.shape
    counts, scope = ("networks", THIS_SET) if seeds == 1 else ("condensations", THIS_NETWORK)
    found = sample(table.ravel(), counts=counts, scope=scope)
    std = None if table.size == 1 else spread(table)
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
    )
