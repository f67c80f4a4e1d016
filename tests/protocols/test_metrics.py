"""Compares the metrics with matrices computed by hand; test_agreement.py compares them with Avalanche's own."""

from __future__ import annotations

import pytest
import torch

from protocols.metrics import (
    average_incremental_accuracy,
    backward_transfer,
    final_accuracy,
    forgetting,
    forward_transfer,
)
from protocols.result import IncrementalResult, StepResult, judge
from satm.errors import ShapeError

MATRIX = (
    (0.9, 0.0, 0.0),
    (0.6, 0.7, 0.1),
    (0.7, 0.5, 0.8),
)


def test_by_hand() -> None:
    # Step 0 peaked at 0.9 and ended at 0.7; step 1 peaked at 0.7 and ended at 0.5.
    assert forgetting(MATRIX) == pytest.approx((0.2 + 0.2) / 2)
    assert backward_transfer(MATRIX) == pytest.approx((-0.2 - 0.2) / 2)
    assert average_incremental_accuracy((0.9, 0.65, 0.4)) == pytest.approx(0.65)
    assert final_accuracy((0.9, 0.65, 0.4)) == 0.4


def test_forgetting_starts_from_the_best_earlier_accuracy_and_transfer_from_the_first() -> None:
    matrix = ((0.5, 0.9), (0.8, 0.4), (0.6, 0.7))
    rose = tuple((*row, last) for row, last in zip(matrix, (0.0, 0.0, 1.0), strict=True))
    # 0.9 in the first row does not count: those classes had not arrived yet. Their forgetting is negative.
    assert forgetting(rose) == pytest.approx(((0.8 - 0.6) + (0.4 - 0.7)) / 2)
    assert backward_transfer(rose) == pytest.approx(((0.6 - 0.5) + (0.7 - 0.4)) / 2)


def test_a_single_step_forgets_nothing() -> None:
    assert forgetting(((0.4,),)) == 0.0
    assert backward_transfer(((0.4,),)) == 0.0


def judged(step: int) -> StepResult:
    return StepResult(
        step=step, accuracies=MATRIX[step], seen=(0.9, 0.65, 0.4)[step], masked=0.8, memory_size=2 * step + 2
    )


UNTRAINED = (0.3, 0.2, 0.4)


def test_forward_transfer_by_hand() -> None:
    # Step 1's classes before they came: 0.0 against 0.2 untrained; step 2's: 0.1 against 0.4.
    assert forward_transfer(MATRIX, UNTRAINED) == pytest.approx((-0.2 - 0.3) / 2)
    assert forward_transfer(((0.4,),), (0.1,)) == 0.0


def test_scores_of_a_result_carry_every_metric() -> None:
    result = IncrementalResult(
        steps=((2,), (0,), (1,)), judged=tuple(judged(step) for step in range(3)), untrained=UNTRAINED
    )
    assert result.order == (2, 0, 1)
    assert result.scores() == pytest.approx(
        {
            "average_incremental_accuracy": 0.65,
            "final_accuracy": 0.4,
            "final_masked_accuracy": 0.8,
            "forgetting": 0.2,
            "backward_transfer": -0.2,
            "forward_transfer": -0.25,
        }
    )


def test_a_network_judged_once_has_no_scores_of_a_curve() -> None:
    result = IncrementalResult(steps=((2,), (0,), (1,)), judged=(judged(2),), untrained=UNTRAINED)
    assert result.scores() == {"final_accuracy": 0.4, "final_masked_accuracy": 0.8}


@pytest.mark.parametrize("steps", [(0, 1), (1, 2), (0, 2, 1)])
def test_numbers_of_another_stream_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="for a stream of 3"):
        IncrementalResult(steps=((2,), (0,), (1,)), judged=tuple(judged(step) for step in steps), untrained=UNTRAINED)
    with pytest.raises(ShapeError, match=r"\[2, 3\] steps"):
        IncrementalResult(
            steps=((2,), (0,), (1,)), judged=tuple(judged(step) for step in range(3)), untrained=UNTRAINED[:2]
        )


def test_judging_by_hand() -> None:
    # Classes 2 | 0, 1. Rows: predicted class, then the best among the image's own step.
    logits = torch.tensor([[0.0, 1, 9], [9, 1, 0], [0, 9, 1], [1, 2, 9]])
    labels = torch.tensor([2, 2, 0, 1])
    places = [torch.tensor([0, 1]), torch.tensor([2, 3])]
    first = judge(logits, labels, places, ((2,), (0, 1)), step=0, memory_size=5)
    # Images of step 0: right, wrong (0 for 2); of step 1: wrong (1 for 0), wrong (2 for 1, but 1 between 0 and 1).
    assert first == StepResult(step=0, accuracies=(0.5, 0.0), seen=0.5, masked=1.0, memory_size=5)
    assert judge(logits, labels, places, ((2,), (0, 1)), step=1, memory_size=5).seen == 0.25
    assert judge(logits, labels, places, ((2,), (0, 1)), step=1, memory_size=5).masked == 0.75
