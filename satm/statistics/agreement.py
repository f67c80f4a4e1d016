"""Tests whether two networks differ in accuracy, by the test images on which only one of them is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from satm.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How many test images both, one or neither of two networks classify right, and the p-value of McNemar's test."""

    both: int
    only_first: int
    only_second: int
    neither: int
    p: float  # two-sided, exact: a small p speaks against equal accuracies of the two networks on new images

    @property
    def difference(self) -> float:
        """The accuracy of the first network minus the accuracy of the second, as a fraction."""
        return (self.only_first - self.only_second) / (self.both + self.only_first + self.only_second + self.neither)


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike, targets: npt.ArrayLike) -> Agreement:
    """McNemar's exact test of the predicted classes `first` [m] and `second` [m]; `targets` [m] are the true classes.

    Consider the images on which exactly one network is right. If both networks are equally good, each of them is right
    on half of these images on average. p is the p-value of a binomial test of the probability 1/2. The test is about
    these two networks on new images, and says nothing about the methods behind the networks.

    Raises ConfigError for vectors of different lengths, and for empty vectors.

    Source: McNemar (1947), "Note on the sampling error of the difference between correlated proportions".
    """
    import numpy as np

    a, b, truth = np.asarray(first), np.asarray(second), np.asarray(targets)
    if a.ndim != 1 or not a.size or not a.shape == b.shape == truth.shape:
        shapes = f"{list(a.shape)}, {list(b.shape)} and {list(truth.shape)}"
        raise ConfigError(f"predictions and classes of shapes {shapes}: expected one of each for every test image")
    from scipy.stats import binomtest

    right, also = a == truth, b == truth
    only_first, only_second = int((right & ~also).sum()), int((also & ~right).sum())
    differ = only_first + only_second
    p = float(binomtest(only_first, differ).pvalue) if differ else 1.0
    both = int((right & also).sum())
    return Agreement(both=both, only_first=only_first, only_second=only_second, neither=a.size - both - differ, p=p)
