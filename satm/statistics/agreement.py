"""Whether two networks are wrong on the same test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from satm.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Numbers of test images on which two networks are right or wrong, and McNemar's p-value."""

    both: int
    only_first: int
    only_second: int
    neither: int
    p: float  # two-sided, exact binomial: of equal accuracies on new images

    @property
    def difference(self) -> float:
        """Accuracy of the first minus that of the second."""
        return (self.only_first - self.only_second) / (self.both + self.only_first + self.only_second + self.neither)


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike, targets: npt.ArrayLike) -> Agreement:
    """McNemar's exact test of two vectors of predicted classes [m] against the true classes [m].

    Of the images on which only one network is right, each network has half if they are equally good: p is the binomial
    test's. It speaks of these two networks on new images, and says nothing about the methods behind them.

    Raises ConfigError for vectors of different lengths, or none.

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
