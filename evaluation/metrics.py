"""The table of metrics: numbers computed from the logits of a trained network on the test images.

Every evaluation of a network (`evaluation.evaluate`) computes all metrics of the table. To add one here, write a
function below and one `METRICS.add(Metric(...))`. Another package adds one with an entry point of the group
`satm.metrics`. The functions use methods of tensors only, so this file loads no torch and `satm results` can look up a
metric's unit at once.
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
"""The metric, 1, of a network whose loss was not finite. It has no other metric, so it is not in the table."""
BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number computed from predictions.

    `of(logits, targets)` takes logits [n, K] and targets [n], int64 classes in 0..K − 1, both on the CPU. It returns a
    finite float if the logits are finite.
    """

    name: str  # as results store it
    summary: str
    of: Callable[[Tensor, Tensor], float]
    unit: Unit = "fraction"  # a fraction is shown in percent, nats as they are
    higher_is_better: bool = True
    needs: Literal["logits", "predictions"] = "logits"
    """What it is computed from. A metric that needs only the predicted classes is computed from stored predictions, so
    no network is trained again for it. `of` then gets one-hot logits: 1 for the predicted class, 0 for all others."""


METRICS: Names[Metric] = Names("metric", package="evaluation.metrics", group="satm.metrics", expects=Metric)


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """The fraction of images whose largest logit is that of their class; the first one wins a tie."""
    return float((logits.argmax(1) == targets).double().mean())


def macro_accuracy(logits: Tensor, targets: Tensor) -> float:
    """The mean over classes of the accuracy on the images of the class.

    A class without a test image is left out. Equal to `accuracy` if all classes have equally many images; otherwise a
    small class counts as much as a large one.
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
    """The mean distance between the confidence and the accuracy of a network.

    The confidence of an image is the largest probability, max softmax(logits). The images are put into 15 bins by their
    confidence: bin m, counted from 1, holds those in ((m − 1)/15, m/15], so the upper edge belongs to the bin. With
    acc and conf the means in a bin,

        ECE = Σ_m (n_m / n) · |acc_m − conf_m|.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, Eqs. 2 and 3.
    """
    confidence = logits.double().softmax(1).amax(1)
    right = (logits.argmax(1) == targets).double()
    edges = confidence.new_tensor([m / BINS for m in range(1, BINS)])
    bins = (confidence[:, None] > edges).sum(1)
    gaps = bins.bincount(weights=right - confidence)  # n_m (acc_m − conf_m)
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
