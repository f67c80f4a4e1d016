"""Tables of accuracies from a crossed and a nested design of known variances."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

MEAN = 0.7
Array = npt.NDArray[np.float64]


def crossed_tables(seeds: int, networks: int, sds: tuple[float, float, float], count: int) -> Array:
    """[count, S, R] of mean 0.7: sd between condensations, between networks, and of the rest."""
    rng = np.random.default_rng(16)
    a, b, c = sds
    return np.asarray(
        MEAN
        + a * rng.standard_normal((count, seeds, 1))
        + b * rng.standard_normal((count, 1, networks))
        + c * rng.standard_normal((count, seeds, networks))
    )


def coverage(means: Array, errors: Array, freedom: Array | float, truth: float = MEAN) -> float:
    """The share of 95% t-intervals that contain the truth."""
    return float(np.mean(np.abs(means - truth) <= stdtrit(freedom, 0.975) * errors))
