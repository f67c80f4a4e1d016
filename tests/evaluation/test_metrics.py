"""Compares every metric with numbers computed by hand, and with scikit-learn if it has the metric."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from evaluation.metrics import METRICS
from satm.rng import Seed


def of(name, logits, targets):
    return METRICS.get(name).of(logits, torch.tensor(targets))


def confident(*confidences):
    """Logits of two classes that predict class 0 with these probabilities (above one half)."""
    p = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([p.log(), (1 - p).log()], dim=1)


@pytest.fixture
def random():
    """60 images of 4 classes; class 2 is never the target, and class 0 is the most frequent one."""
    generator = Seed(0).generator()
    logits = 2 * torch.randn(60, 4, generator=generator)
    targets = torch.tensor([0, 0, 0, 1, 3])[torch.randint(5, (60,), generator=generator)]
    return logits, targets


def test_the_table_names_its_metrics_with_unit_and_summary():
    assert METRICS.known() == [
        "accuracy",
        "expected_calibration_error",
        "macro_accuracy",
        "negative_log_likelihood",
    ]
    assert all(METRICS.summaries().values())
    assert {name: METRICS.get(name).unit for name in METRICS.known()} == dict.fromkeys(METRICS.known(), "fraction") | {
        "negative_log_likelihood": "nats"
    }


def test_the_table_is_read_without_torch():
    code = (
        "from evaluation.metrics import METRICS; import sys; METRICS.get('accuracy'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_accuracy_counts_images_and_macro_accuracy_classes():
    logits = torch.eye(3)[[0, 0, 0, 1, 0]]
    targets = [0, 0, 0, 1, 1]  # 3 of 3 and 1 of 2; class 2 has no image
    assert of("accuracy", logits, targets) == 0.8
    assert of("macro_accuracy", logits, targets) == 0.75
    assert of("accuracy", logits, [2] * 5) == of("macro_accuracy", logits, [2] * 5) == 0


def test_the_likelihood_of_equal_logits_is_one_in_the_number_of_classes():
    assert of("negative_log_likelihood", torch.zeros(5, 7), [0, 1, 2, 3, 6]) == pytest.approx(math.log(7))
    assert of("negative_log_likelihood", confident(0.8, 0.9), [0, 1]) == pytest.approx(-math.log(0.8 * 0.1) / 2)
    # A probability that is zero in float64 still has its logarithm.
    assert of("negative_log_likelihood", torch.tensor([[0.0, 5000.0]]), [0]) == pytest.approx(5000)


def test_calibration_error_is_the_gap_of_each_bin_weighted_by_its_images():
    # Bin 9 holds 0.55 and 0.59, one of them right: |1 − 1.14|; bin 15 holds 0.97, right: |1 − 0.97|. n = 3.
    assert of("expected_calibration_error", confident(0.55, 0.59, 0.97), [0, 1, 0]) == pytest.approx(0.17 / 3)
    assert of("expected_calibration_error", confident(0.75, 0.75, 0.75, 0.75), [0, 0, 0, 1]) == pytest.approx(0)
    certain = torch.tensor([[1000.0, 0.0]])
    assert of("expected_calibration_error", certain, [0]) == 0
    assert of("expected_calibration_error", certain, [1]) == 1
    # The least confidence that K classes allow.
    assert of("expected_calibration_error", torch.zeros(4, 4), [0, 1, 2, 3]) == pytest.approx(0)


def test_the_upper_edge_of_a_bin_belongs_to_it():
    """The gaps of a wrong and a right image cancel in part if both are in one bin. In two bins they do not."""
    edge = [0.0, 0.0, 0.0, -1e4, -1e4]  # a confidence of exactly 1/3 = 5/15, for the wrong class
    below, above = ([math.log(p), *4 * [math.log((1 - p) / 4)]] for p in (0.30, 0.36))
    together = of("expected_calibration_error", torch.tensor([edge, below], dtype=torch.float64), [4, 0])
    apart = of("expected_calibration_error", torch.tensor([edge, above], dtype=torch.float64), [4, 0])
    assert together == pytest.approx((0.70 - 1 / 3) / 2)
    assert apart == pytest.approx((0.64 + 1 / 3) / 2)


def test_metrics_are_scikit_learns(random):
    logits, targets = random
    assert len(set(targets.tolist())) == 3
    predicted = logits.argmax(1)
    present = torch.isin(predicted, targets.unique())  # balanced_accuracy_score warns about classes never seen
    assert of("accuracy", logits, targets.tolist()) == accuracy_score(targets, predicted)
    assert of("macro_accuracy", logits[present], targets[present].tolist()) == pytest.approx(
        balanced_accuracy_score(targets[present], predicted[present]), rel=1e-12
    )
    expected = log_loss(targets, logits.double().softmax(1), labels=[0, 1, 2, 3])
    assert of("negative_log_likelihood", logits, targets.tolist()) == pytest.approx(expected, rel=1e-6)
