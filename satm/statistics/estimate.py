"""An estimate of a mean with its standard error and degrees of freedom, and its t-interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from satm.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

LEVEL = 0.95
FEWEST = 3  # independent units from which an interval is given: two always agree or disagree by chance
ROUNDING = 1e-12  # of means of fractions or points


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean, and how far it may be from the mean of the population that `scope` names.

    `n` is the number of independent units behind `se`, and `counts` names them: condensations, networks, orders or
    draws. Numbers have the unit of the values: fractions, or points if the values are points.
    """

    mean: float
    se: float | None  # standard error; None for a single unit
    freedom: float | None  # degrees of freedom of `se`; None for a single unit
    n: int
    counts: str
    scope: str  # what the interval speaks of

    def ends(self, level: float = LEVEL) -> tuple[float, float] | None:
        """The two-sided t-interval mean ± t·SE at `level`; None for fewer than three units."""
        if self.se is None or self.freedom is None or self.n < FEWEST:
            return None
        half = t_quantile((1 + level) / 2, self.freedom) * self.se
        return self.mean - half, self.mean + half

    @property
    def low(self) -> float | None:
        """Lower end of the 95% interval; None for fewer than three units."""
        return None if (ends := self.ends()) is None else ends[0]

    @property
    def high(self) -> float | None:
        """Upper end of the 95% interval; None for fewer than three units."""
        return None if (ends := self.ends()) is None else ends[1]

    def p(self) -> float | None:
        """The two-sided p-value of Student's t against a mean of 0; None for fewer than three units."""
        if self.se is None or self.freedom is None or self.n < FEWEST:
            return None
        if self.se == 0:
            return 1.0 if self.mean == 0 else 0.0
        from scipy.special import stdtr

        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.se))


def t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t with `freedom` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def sample(values: npt.ArrayLike, *, counts: str, scope: str) -> Estimate:
    """The mean of n independent values: SE² = s²/n, n − 1 degrees of freedom. Raises ConfigError without values."""
    import numpy as np

    found = checked(values, dimensions=1, shape="n values")
    if len(found) == 1:
        return Estimate(mean=float(found[0]), se=None, freedom=None, n=1, counts=counts, scope=scope)
    mean, std = center(found), spread(found)
    se = std / float(np.sqrt(len(found)))
    return Estimate(mean=mean, se=se, freedom=len(found) - 1, n=len(found), counts=counts, scope=scope)


def center(values: npt.NDArray[np.float64]) -> float:
    """The mean; exactly the value that all share if they are equal."""
    return float(values.flat[0] if tied(values) else values.mean())


def spread(values: npt.NDArray[np.float64]) -> float:
    """The sample standard deviation (divided by n − 1); exactly 0 if all values are equal."""
    return 0.0 if tied(values) else float(values.std(ddof=1))


def tied(values: npt.NDArray[np.float64]) -> bool:
    """Whether all values are equal up to rounding."""
    return bool(values.max() - values.min() <= ROUNDING)


def checked(values: npt.ArrayLike, *, dimensions: int, shape: str) -> npt.NDArray[np.float64]:
    """`values` as an array of floats. Raises ConfigError for another number of dimensions, none, or NaN or infinity."""
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
