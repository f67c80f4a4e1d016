"""The table `METRICS` of metrics. A metric is a number computed from a trained network's logits on the test images.

Every evaluation of a network (`evaluation.evaluate`) computes all metrics of the table. To add a metric, write a
function in this file and add it with `METRICS.add(Metric(...))`. Another package adds a metric by an entry point of the
group `satm.metrics`. The functions use only methods of tensors. So this file does not need to import torch, and
`satm results` can read the units of metrics without waiting for this import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from satm.names import Names

if TYPE_CHECKING:
    from torch import Tensor

Unit = Literal["fraction", "nats"]
DIVERGED = "diverged"
"""The name of the metric of a network that diverged: its loss was not finite in training. The value is always 1. Such a
network has no other metric. `diverged` is not in the table, because it is not computed from logits."""
BINS = 15
"""The number of bins of the expected calibration error, as in Guo et al. 2017."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric of a trained network.

    The function `of(logits, targets)` computes it from logits [n, K] and from targets [n], which are int64 classes in
    0..K − 1. Both are on the CPU. It must return a finite float if the logits are finite.
    """

    name: str  # the name under which results store the metric
    summary: str
    of: Callable[[Tensor, Tensor], float]
    unit: Unit = "fraction"  # tables show a fraction in percent, and nats (units of the natural logarithm) unchanged
    higher_is_better: bool = True
    needs: Literal["logits", "predictions"] = "logits"
    """What the metric is computed from. If it needs only the predicted classes ("predictions"), it can be computed from
    stored predictions, and no network has to be trained again. `of` then gets one-hot logits: 1 for the predicted
    class, 0 for all others."""


METRICS: Names[Metric] = Names("metric", package="evaluation.metrics", group="satm.metrics", expects=Metric)


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """The fraction of the images for which the class with the largest logit is the target.

    If several classes have the largest logit, the first of them is the prediction.
    """
    return float((logits.argmax(1) == targets).double().mean())


def macro_accuracy(logits: Tensor, targets: Tensor) -> float:
    """The mean over the classes of the accuracy on the images of one class.

    A class without test images is left out. Classes with few and with many images have the same weight. If all classes
    have the same number of images, the result is equal to `accuracy`.
    """
    right = (logits.argmax(1) == targets).double()
    counts = targets.bincount().double()
    hits = targets.bincount(weights=right)
    present = counts > 0
    return float((hits[present] / counts[present]).mean())


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> float:
    """The mean over images of −log p(target), with p = softmax(logits) and the natural logarithm."""
    return float(-logits.double().log_softmax(1).gather(1, targets[:, None]).mean())


def expected_calibration_error(logits: Tensor, targets: Tensor) -> float:
    """The expected calibration error: the mean distance between the confidence and the accuracy of a network.

    The confidence for an image is the largest probability, max softmax(logits). The images are put into 15 bins by
    their confidence. Bin m, counted from 1, holds the n_m images with a confidence in ((m − 1)/15, m/15]. acc_m is the
    accuracy on the images of bin m, and conf_m is their mean confidence.

        ECE = Σ_m (n_m / n) · |acc_m − conf_m|

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, Eqs. 2 and 3.
    """
    confidence = logits.double().softmax(1).amax(1)
    right = (logits.argmax(1) == targets).double()
    edges = confidence.new_tensor([m / BINS for m in range(1, BINS)])
    bins = (confidence[:, None] > edges).sum(1)
    gaps = bins.bincount(weights=right - confidence)  # the sums n_m (acc_m − conf_m) of all bins
    return float(gaps.abs().sum() / len(targets))


METRICS.add(
    Metric(
        name="accuracy",
        summary="fraction of the test images classified correctly",
        of=accuracy,
        needs="predictions",
    )
)
METRICS.add(
    Metric(
        name="macro_accuracy",
        summary="mean of the accuracy on each class (balanced accuracy)",
        of=macro_accuracy,
        needs="predictions",
    )
)
METRICS.add(
    Metric(
        name="negative_log_likelihood",
        summary="mean of -log p(class), in nats; less is better",
        of=negative_log_likelihood,
        unit="nats",
        higher_is_better=False,
    )
)
METRICS.add(
    Metric(
        name="expected_calibration_error",
        summary="distance of confidence and accuracy in 15 bins (Guo et al. 2017); less is better",
        of=expected_calibration_error,
        higher_is_better=False,
    )
)
