"""The incomplete beta function I_x(a, b), its inverse, and the quantiles of Student's t that follow from it.

SciPy has the same functions, but importing SciPy takes longer than the whole command `satm results`. Tests compare the
values of this module with SciPy's.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

TINY = 1e-300  # replaces a 0 by which the continued fraction would divide
STEPS = 10_000  # the largest number of steps; the fraction needs about √max(a, b), Newton's method fewer than 20
# Newton's method ends after a relative step of this size. The step squares the relative error, so the error is then far
# below the rounding error.
CLOSE = 1e-9
MANY = 5_000  # from this many degrees of freedom on, `t_quantile` uses the series only
SMALL = 16.0  # from this x on, the terms of Stirling's series below give all digits
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)  # coefficients of x⁻¹, x⁻³, …


def beta_cdf(x: float, a: float, b: float, rest: float | None = None) -> float:
    """I_x(a, b) for 0 ≤ x ≤ 1 and a, b > 0: the probability that a value of the beta distribution is at most x.

    `rest` is 1 − x. Give it if x is so near to 1 that computing 1 − x would lose digits.
    """
    y = 1 - x if rest is None else rest
    if x <= 0 or y <= 0:
        return float(y <= 0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only below about the mean; so use 1 − I_y(b, a)
        return 1 - _front(y, x, b, a) * _fraction(y, b, a) / b
    return _front(x, y, a, b) * _fraction(x, a, b) / a


@lru_cache(maxsize=4096)
def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = `probability`, by Newton's method.

    Two bounds, `low` and `high`, always enclose the solution. If a step of Newton's method leads outside of them, the
    middle between the bounds is used instead.
    """
    low, high = 0.0, 1.0
    x = a / (a + b)
    for _ in range(STEPS):
        error = beta_cdf(x, a, b) - probability
        low, high = (low, x) if error > 0 else (x, high)
        density = _front(x, 1 - x, a, b) / (x * (1 - x))
        before, x = x, x - error / density if density > 0 else math.nan
        if not low <= x <= high:
            x = (low + high) / 2
        elif abs(x - before) <= CLOSE * x:
            break
    return x


@lru_cache(maxsize=4096)
def t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t with `freedom` degrees of freedom, which need not be a whole number.

    It is computed by Newton's method, which starts from the first terms of a series in 1/`freedom`. Above 0 the
    distribution function is concave, so only the first step can go too far, and only towards 0. No step is therefore
    allowed below the quantile of the normal distribution, which is always nearer to 0 than the result. From `MANY`
    degrees of freedom on the series alone is used: it is exact up to rounding, and the beta function is not.
    """
    if probability <= 0.5:
        return 0.0 if probability == 0.5 else -t_quantile(1 - probability, freedom)
    z, outside = NormalDist().inv_cdf(probability), 2 * (1 - probability)  # `outside` is P(|T| > t)
    t = _series(z, freedom)
    for _ in range(STEPS if freedom < MANY else 0):
        y, x = freedom / (freedom + t * t), t * t / (freedom + t * t)
        step = (beta_cdf(y, freedom / 2, 0.5, x) - outside) * t / (2 * _front(y, x, freedom / 2, 0.5))
        t = max(z, t + step)
        if abs(step) <= CLOSE * t:
            break
    return t


def _series(z: float, freedom: float) -> float:
    """The quantile of Student's t as a series in 1/`freedom`, from the quantile z of the normal distribution.

    Source: Abramowitz and Stegun (1964), "Handbook of Mathematical Functions", 26.7.5.
    """
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**k for k, term in enumerate(terms, start=1))


def _front(x: float, y: float, a: float, b: float) -> float:
    """xᵃyᵇ/B(a, b) for y = 1 − x, with B the beta function.

    It is computed without differences of logarithms of Γ, which would lose digits.

    Source: Loader (2000), "Fast and Accurate Computation of Binomial Probabilities".
    """
    n = a + b
    log = _stirling(n) - _stirling(a) - _stirling(b) - _deviance(a, n * x) - _deviance(b, n * y)
    return math.exp(log) * math.sqrt(a * b / (2 * math.pi * n))


def _stirling(x: float) -> float:
    """The error of Stirling's formula: log Γ(x + 1) − [(x + ½) log x − x + ½ log 2π]."""
    if x < SMALL:
        return math.lgamma(x + 1) - (x + 0.5) * math.log(x) + x - 0.5 * math.log(2 * math.pi)
    return math.fsum(c * x ** -(2 * k + 1) for k, c in enumerate(STIRLING))


def _deviance(x: float, mean: float) -> float:
    """x log(x/mean) + mean − x, without a loss of digits for x near the mean."""
    if abs(x - mean) >= 0.1 * (x + mean):
        return x * math.log(x / mean) + mean - x
    v = (x - mean) / (x + mean)
    total, power = (x - mean) * v, 2 * x * v
    for k in range(1, 100):
        power *= v * v
        following = total + power / (2 * k + 1)
        if following == total:
            break
        total = following
    return total


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction by which xᵃ(1 − x)ᵇ/(a B(a, b)) is multiplied to give I_x(a, b), by Lentz's method.

    Source: Press et al., "Numerical Recipes", section 6.4.
    """
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or TINY)
    found = d
    for m in range(1, STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d or TINY)
            c = 1 + term / c or TINY
            found *= c * d
        if abs(c * d - 1) < 4e-16:
            break
    return found
