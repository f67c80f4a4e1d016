"""Continual-learning metrics: pure functions of the accuracy matrix, or of the accuracies on the classes seen.

S incremental steps give `matrix` a [S][S] of fractions. Row k is measured after step k. Column j is the accuracy on the
test images of step j's classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def average_incremental_accuracy(seen: Sequence[float]) -> float:
    """Mean over the steps of the accuracy on all classes seen so far (Rebuffi et al. 2017, iCaRL)."""
    return fmean(seen)


def final_accuracy(seen: Sequence[float]) -> float:
    """Accuracy on all classes after the last step."""
    return seen[-1]


def forgetting(matrix: Sequence[Sequence[float]]) -> float:
    """Mean over j < S − 1 of max_{j ≤ k < S−1} a[k][j] − a[S−1][j] (Chaudhry et al. 2018); 0 for a single step.

    Only a network that is trained further can forget. If every step trains a fresh network, the same number is the
    drop in accuracy on old classes: they share one memory and one head with more and more classes. Results then call it
    `old_class_drop`. Avalanche's stream forgetting starts from a[j][j] instead of the maximum: it is
    −`backward_transfer`.
    """
    *earlier, last = matrix
    if not earlier:
        return 0.0
    return fmean(max(row[j] for row in earlier[j:]) - last[j] for j in range(len(earlier)))


def backward_transfer(matrix: Sequence[Sequence[float]]) -> float:
    """Mean over j < S − 1 of a[S−1][j] − a[j][j] (Lopez-Paz & Ranzato 2017, GEM, Eq. 3); 0 for a single step."""
    *earlier, last = matrix
    if not earlier:
        return 0.0
    return fmean(last[j] - row[j] for j, row in enumerate(earlier))


def forward_transfer(matrix: Sequence[Sequence[float]], untrained: Sequence[float]) -> float:
    """Mean over j ≥ 1 of a[j−1][j] − b[j] (Lopez-Paz & Ranzato 2017, GEM, Eq. 4); 0 for a single step.

    b = `untrained` [S] is the accuracy of the network at random initialisation on each step's test images. Give both as
    task-masked accuracies: without a mask a network hardly ever predicts a class that it has not seen, and the number
    is about −b whatever was learnt.
    """
    if len(matrix) < 2:
        return 0.0
    return fmean(matrix[j - 1][j] - untrained[j] for j in range(1, len(matrix)))
