"""Confusion matrices and metrics from stored predictions, so that no network has to be trained again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from evaluation.cross_arch import value_of
from evaluation.metrics import Metric
from satm.errors import ConfigError, ShapeError

SAVED_BELOW = 20_000
"""If the user does not choose by an option, predictions are stored if the data set has fewer test images than this."""


def confusion_matrix(
    predicted: np.ndarray | Sequence[int], targets: np.ndarray | Sequence[int], num_classes: int
) -> np.ndarray:
    """The confusion matrix [K, K] int64. Entry (i, j) is the number of images of class i that are predicted as class j.

    `predicted` and `targets` are [n], classes in 0..K − 1, with K = `num_classes`. The trace divided by n is the
    accuracy. Raises ShapeError if the lengths differ, ConfigError for a class outside 0..K − 1.
    """
    found, wanted = (np.asarray(values, dtype=np.int64) for values in (predicted, targets))
    if found.shape != wanted.shape or found.ndim != 1:
        raise ShapeError(f"predictions {found.shape} and targets {wanted.shape}: expected [n] of the same length")
    for values in (found, wanted):
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ConfigError(f"classes {values.min()} to {values.max()}: expected classes in 0 to {num_classes - 1}")
    return np.bincount(num_classes * wanted + found, minlength=num_classes**2).reshape(num_classes, num_classes)


def from_predictions(metric: Metric, predicted: np.ndarray, targets: np.ndarray, num_classes: int) -> float:
    """The value of a metric that needs only predicted classes, from `predicted` [n] and `targets` [n].

    The metric's function gets one-hot logits: 1 for the predicted class, 0 for all others. Raises ConfigError if the
    metric needs real logits, PluginError if its function fails.
    """
    if metric.needs != "predictions":
        raise ConfigError(f"metric {metric.name} needs logits, and only predictions are stored; evaluate the set again")
    found, wanted = (torch.from_numpy(values.astype(np.int64)) for values in (predicted, targets))
    return value_of(metric, F.one_hot(found, num_classes).float(), wanted)
