"""Against matrices worked out by hand; Avalanche's own metrics are compared in test_gdumb.py."""

from __future__ import annotations

import pytest

from protocols.metrics import average_incremental_accuracy, backward_transfer, final_accuracy, forgetting
from protocols.result import IncrementalResult
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
    # 0.9 in the first row was before those classes arrived, so it does not count; their forgetting is negative.
    assert forgetting(rose) == pytest.approx(((0.8 - 0.6) + (0.4 - 0.7)) / 2)
    assert backward_transfer(rose) == pytest.approx(((0.6 - 0.5) + (0.7 - 0.4)) / 2)


def test_a_single_step_forgets_nothing() -> None:
    assert forgetting(((0.4,),)) == 0.0
    assert backward_transfer(((0.4,),)) == 0.0


def test_scores_of_a_result_carry_every_metric() -> None:
    result = IncrementalResult(
        steps=((2,), (0,), (1,)),
        matrix=MATRIX,
        seen=(0.9, 0.65, 0.4),
        memory_sizes=(1, 2, 3),
        learning_rate=0.01,
    )
    assert result.order == (2, 0, 1)
    assert result.scores() == pytest.approx(
        {
            "average_incremental_accuracy": 0.65,
            "final_accuracy": 0.4,
            "forgetting": 0.2,
            "backward_transfer": -0.2,
        }
    )


def test_numbers_of_another_stream_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[2, 3\] for 2 steps"):
        IncrementalResult(steps=((2, 0), (1,)), matrix=MATRIX, seen=(0.9, 0.4), memory_sizes=(2, 3), learning_rate=None)
