"""Metrics of continual learning, as pure functions.

For a stream with S incremental steps, numbered from 0, the argument `matrix` has S rows and S columns. Its entry
a[k][j] is the accuracy (a fraction) after step k on the test images of the classes of step j. The argument `seen` [S]
has the accuracy after each step on the test images of all classes that have arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def average_incremental_accuracy(seen: Sequence[float]) -> float:
    """The mean over the steps of the accuracy on all classes seen so far (Rebuffi et al. 2017, iCaRL)."""
    return fmean(seen)


def final_accuracy(seen: Sequence[float]) -> float:
    """The accuracy on all classes after the last step."""
    return seen[-1]


def forgetting(matrix: Sequence[Sequence[float]]) -> float:
    """The mean over j < S − 1 of max_{j ≤ k < S−1} a[k][j] − a[S−1][j] (Chaudhry et al. 2018); 0 for a single step.

    Only a network that is trained further from step to step can forget. If every step trains a new network, the same
    formula gives the drop of accuracy on old classes. They lose accuracy because more and more new classes get a part
    of the memory and of the network's output. Results then have this number under the name `old_class_drop`.

    Avalanche's metric "stream forgetting" has a[j][j] instead of the maximum. So it is equal to −`backward_transfer`.
    """
    *earlier, last = matrix
    if not earlier:
        return 0.0
    return fmean(max(row[j] for row in earlier[j:]) - last[j] for j in range(len(earlier)))


def backward_transfer(matrix: Sequence[Sequence[float]]) -> float:
    """The mean over j < S − 1 of a[S−1][j] − a[j][j] (Lopez-Paz & Ranzato 2017, GEM, Eq. 3); 0 for a single step."""
    *earlier, last = matrix
    if not earlier:
        return 0.0
    return fmean(last[j] - row[j] for j, row in enumerate(earlier))


def forward_transfer(matrix: Sequence[Sequence[float]], untrained: Sequence[float]) -> float:
    """The mean over j ≥ 1 of a[j−1][j] − b[j] (Lopez-Paz & Ranzato 2017, GEM, Eq. 4); 0 for a single step.

    b = `untrained` [S] are the accuracies of the network with random initial weights on the test images of each step.
    Both arguments should be task-masked accuracies: only the classes of an image's own step can be predicted. Without
    the mask, a network hardly ever predicts a class that it has not seen. The result is then about −b, whatever the
    network has learnt.
    """
    if len(matrix) < 2:
        return 0.0
    return fmean(matrix[j - 1][j] - untrained[j] for j in range(1, len(matrix)))
