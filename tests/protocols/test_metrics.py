"""Compares the metrics with numbers computed by hand. test_agreement.py compares them with Avalanche's own."""

from __future__ import annotations

import pytest

from protocols.metrics import (
    average_incremental_accuracy,
    backward_transfer,
    final_accuracy,
    forgetting,
    forward_transfer,
)
from tests.protocols.accuracies import MATRIX, SEEN, UNTRAINED


def test_by_hand() -> None:
    # Step 0: at best 0.9, at the end 0.7. Step 1: at best 0.7, at the end 0.5.
    assert forgetting(MATRIX) == pytest.approx((0.2 + 0.2) / 2)
    assert backward_transfer(MATRIX) == pytest.approx((-0.2 - 0.2) / 2)
    assert average_incremental_accuracy(SEEN) == pytest.approx(0.65)
    assert final_accuracy(SEEN) == 0.4


def test_forgetting_compares_with_the_best_earlier_accuracy_and_transfer_with_the_first() -> None:
    # Step 1's classes arrive after row 0, so its 0.9 in row 0 does not count: its best and its first accuracy are 0.4.
    # It ends at 0.7, so its forgetting is negative.
    matrix = ((0.5, 0.9, 0.0), (0.8, 0.4, 0.0), (0.6, 0.7, 1.0))
    assert forgetting(matrix) == pytest.approx(((0.8 - 0.6) + (0.4 - 0.7)) / 2)
    assert backward_transfer(matrix) == pytest.approx(((0.6 - 0.5) + (0.7 - 0.4)) / 2)


def test_a_single_step_forgets_nothing() -> None:
    assert forgetting(((0.4,),)) == 0.0
    assert backward_transfer(((0.4,),)) == 0.0


def test_forward_transfer_by_hand() -> None:
    # The accuracy on classes just before they arrive, less that of the untrained network:
    # 0.0 - 0.2 for step 1 and 0.1 - 0.4 for step 2.
    assert forward_transfer(MATRIX, UNTRAINED) == pytest.approx((-0.2 - 0.3) / 2)
    assert forward_transfer(((0.4,),), (0.1,)) == 0.0
