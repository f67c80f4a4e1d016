"""An estimate of a mean, with its standard error, its degrees of freedom and its t-interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from satm.errors import ConfigError
from satm.statistics.beta import t_quantile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LEVEL = 0.95  # the level of intervals
FEWEST = 3  # an interval needs this many independent units: two can be close, or far apart, by chance
ROUNDING = 1e-12  # differences of fractions or points that are not larger than this are rounding errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean, and how far it may be from the mean of the population that `scope` names.

    `se` is estimated from `n` independent units. `counts` says what these units are: condensations, networks, orders or
    draws. `mean` and `se` are fractions if the values are fractions, and points if the values are points.
    """

    mean: float
    se: float | None  # standard error; None for a single unit
    freedom: float | None  # degrees of freedom of `se`; None for a single unit
    n: int
    counts: str
    scope: str  # the population that the interval is about, such as "this set only"

    def ends(self, level: float = LEVEL) -> tuple[float, float] | None:
        """The two-sided t-interval mean ± t·SE at `level`, as (low, high); None for fewer than three units."""
        if self.se is None or self.freedom is None or self.n < FEWEST:
            return None
        half = t_quantile((1 + level) / 2, self.freedom) * self.se
        return self.mean - half, self.mean + half

    @property
    def low(self) -> float | None:
        """The lower end of the 95% interval; None for fewer than three units."""
        return None if (ends := self.ends()) is None else ends[0]

    @property
    def high(self) -> float | None:
        """The upper end of the 95% interval; None for fewer than three units."""
        return None if (ends := self.ends()) is None else ends[1]

    def p(self) -> float | None:
        """The two-sided p-value of a t-test of the mean against 0; None for fewer than three units."""
        if self.se is None or self.freedom is None or self.n < FEWEST:
            return None
        if self.se == 0:
            return 1.0 if self.mean == 0 else 0.0
        from scipy.special import stdtr

        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.se))


def sample(values: npt.ArrayLike, *, counts: str, scope: str) -> Estimate:
    """The mean of n independent values: SE² = s²/n, with s their standard deviation, and n − 1 degrees of freedom.

    Raises ConfigError if there are no values.
    """
    found = listed(values, shape="n values")
    if len(found) == 1:
        return Estimate(mean=found[0], se=None, freedom=None, n=1, counts=counts, scope=scope)
    se = spread(found) / math.sqrt(len(found))
    return Estimate(mean=center(found), se=se, freedom=len(found) - 1, n=len(found), counts=counts, scope=scope)


def center(values: Sequence[float]) -> float:
    """The mean. If all values are equal it is exactly this value, without a rounding error."""
    return float(values[0] if tied(values) else math.fsum(values) / len(values))


def spread(values: Sequence[float]) -> float:
    """The sample standard deviation (divided by n − 1); exactly 0 if all values are equal."""
    if tied(values):
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def tied(values: Sequence[float]) -> bool:
    """Whether all values are equal up to rounding."""
    return bool(max(values) - min(values) <= ROUNDING)


def listed(values: npt.ArrayLike, *, shape: str) -> list[float]:
    """`values` as a list of floats. NumPy is not used: loading it takes longer than printing a table of results.

    `shape` says in messages what was expected. Raises ConfigError if there are no values, if `values` is a table with
    rows, and for NaN and infinity.
    """
    found: Any = values.tolist() if hasattr(values, "tolist") else values
    try:
        numbers = [float(value) for value in found]
    except (TypeError, ValueError):
        raise ConfigError(f"values that are no numbers or in rows: expected {shape}") from None
    if not numbers:
        raise ConfigError(f"no values: expected {shape}, one or more")
    wrong = sum(not math.isfinite(value) for value in numbers)
    if wrong:
        raise ConfigError(f"{wrong} of {len(numbers)} values are no number: expected {shape}")
    return numbers


def checked(values: npt.ArrayLike, *, dimensions: int, shape: str) -> npt.NDArray[np.float64]:
    """`values` as an array of floats.

    `shape` says in messages what was expected. Raises ConfigError for another number of dimensions, if there are no
    values, and for NaN and infinity.
    """
    import numpy as np

    try:
        found = np.asarray(values, dtype=np.float64)
    except ValueError as error:
        raise ConfigError(f"rows of different lengths: expected {shape}; keep what all have (`common`)") from error
    if found.ndim != dimensions or found.size == 0:
        raise ConfigError(f"values of shape {list(found.shape)}: expected {shape}, one or more")
    if not np.isfinite(found).all():
        raise ConfigError(f"{int((~np.isfinite(found)).sum())} of {found.size} values are no number: expected {shape}")
    return found
