"""Intervals of an accuracy that stay between 0 and 1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from satm.errors import ConfigError
from satm.statistics.beta import beta_quantile, t_quantile
from satm.statistics.estimate import FEWEST, LEVEL, Estimate, checked

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def accuracy_interval(
    found: Estimate, *, images: int | None = None, right: npt.ArrayLike | None = None, level: float = LEVEL
) -> tuple[float, float] | None:
    """The interval of the mean accuracy p = `found.mean` (a fraction), as (low, high).

    It is computed on the logit scale: expit(logit p ± d) with d = t·SE/(p(1 − p)), where logit p = log(p/(1 − p)) and
    expit is its inverse.

    Without `right` the interval is about the test images that were used. With `right` [m] it is about new images of the
    same kind, and never narrower: p_i = right[i] is the share of networks that classify test image i right,
    Σ(p_i − p)²/(m(m − 1)) is added to SE², and the degrees of freedom are Satterthwaite's for the sum of both terms.

    The result is None for fewer than three units (`found.counts` says what the units are). If the standard error is 0,
    the interval would claim certainty, and if p is 0 or 1, its logit is infinite. In both cases the result is Clopper
    and Pearson's exact interval for p·m right images of m, where m is the number of test `images` (or the length of
    `right`), and None if neither is given. So p = 1 never gives [1, 1].

    Raises ConfigError if p or a share is outside 0 to 1, and for fewer than two images.
    """
    p = found.mean
    if not 0 <= p <= 1:
        raise ConfigError(f"accuracy {p:g}: expected a fraction from 0 to 1")
    shares = None if right is None else _shares(right)
    images = images if shares is None else len(shares)
    if images is not None and images < 2:
        raise ConfigError(f"{images} test images: expected two or more")
    if found.se is None or found.freedom is None or found.n < FEWEST:
        return None
    if found.se == 0 or p in (0, 1):
        return None if images is None else clopper_pearson(round(p * images), images, level)
    half = t_quantile((1 + level) / 2, found.freedom) * found.se
    if shares is not None:
        own, sampling = found.se**2, float(shares.var(ddof=1)) / len(shares)
        freedom = (own + sampling) ** 2 / (own**2 / found.freedom + sampling**2 / (len(shares) - 1))
        # More degrees of freedom make t smaller, sometimes by more than SE grows. New images must not make the interval
        # narrower, so the wider one is used.
        half = max(half, t_quantile((1 + level) / 2, freedom) * (own + sampling) ** 0.5)
    half /= p * (1 - p)
    logit = math.log(p) - math.log1p(-p)
    return _expit(logit - half), _expit(logit + half)


def clopper_pearson(right: int, images: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact binomial interval of an accuracy: `right` of `images` test images are classified right.

    Raises ConfigError unless 0 ≤ right ≤ images and images ≥ 1.
    """
    if not 0 <= right <= images or images < 1:
        raise ConfigError(f"{right} right of {images} images: expected a number from 0 to the number of images")
    outside = (1 - level) / 2
    low = beta_quantile(outside, right, images - right + 1) if right else 0.0
    high = beta_quantile(1 - outside, right + 1, images - right) if right < images else 1.0
    return low, high


def _expit(x: float) -> float:
    """1/(1 + e⁻ˣ). Two formulas avoid an overflow for large |x|."""
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def _shares(right: npt.ArrayLike) -> npt.NDArray[np.float64]:
    shares = checked(right, dimensions=1, shape="a share of right networks for each test image")
    if shares.min() < 0 or shares.max() > 1:
        raise ConfigError(f"shares from {shares.min():g} to {shares.max():g}: expected fractions from 0 to 1")
    return shares
