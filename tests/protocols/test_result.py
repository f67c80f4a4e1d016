"""The result of a class-incremental run: its scores, the numbers that it refuses, and how a network is judged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from protocols.result import IncrementalResult, StepResult, judge
from satm.errors import ShapeError
from tests.protocols.accuracies import MASKED, MASKED_UNTRAINED, MATRIX, SEEN, UNTRAINED

STEPS = ((2,), (0,), (1,))


def judged(step: int) -> StepResult:
    return StepResult(
        step=step,
        accuracies=MATRIX[step],
        seen=SEEN[step],
        masked=(0.9, 0.85, 0.8)[step],
        masked_accuracies=MASKED[step],
        memory_size=2 * step + 2,
    )


def result(*steps: int, **changes: bool) -> IncrementalResult:
    return IncrementalResult(
        steps=STEPS,
        judged=tuple(judged(step) for step in steps),
        untrained=UNTRAINED,
        masked_untrained=MASKED_UNTRAINED,
        **changes,
    )


def test_the_scores_of_a_result_hold_every_metric() -> None:
    assert result(0, 1, 2).order == (2, 0, 1)
    assert result(0, 1, 2).scores() == pytest.approx(
        {
            "average_incremental_accuracy": 0.65,
            "final_accuracy": 0.4,
            "final_masked_accuracy": 0.8,
            "average_masked_accuracy": 0.85,
            "forgetting": 0.2,
            "backward_transfer": -0.2,
            # On step 2's classes 0.4 before they arrive, 0.6 untrained; on step 3's 0.5 and 0.3.
            "masked_forward_transfer": (-0.2 + 0.2) / 2,
        }
    )


def test_fresh_networks_drop_on_old_classes_and_do_not_forget() -> None:
    scores = result(0, 1, 2, fresh=True).scores()
    assert scores["old_class_drop"] == pytest.approx(0.2)
    assert not {"forgetting", "backward_transfer", "forward_transfer"} & set(scores)


def test_a_network_that_is_judged_once_has_only_the_final_scores() -> None:
    assert result(2).scores() == {"final_accuracy": 0.4, "final_masked_accuracy": 0.8}


@pytest.mark.parametrize("steps", [(0, 1), (1, 2), (0, 2, 1)])
def test_numbers_of_another_stream_are_refused(steps: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="for a stream of 3"):
        result(*steps)
    with pytest.raises(ShapeError, match=r"\[2, 3\] steps"):
        replace(result(0, 1, 2), untrained=UNTRAINED[:2])


def test_judging_by_hand() -> None:
    # Step 0 has class 2, step 1 has classes 0 and 1. Each row below is the logits of one test image.
    logits = torch.tensor([[0.0, 1, 9], [9, 1, 0], [0, 9, 1], [1, 2, 9]])
    labels = torch.tensor([2, 2, 0, 1])
    places = [torch.tensor([0, 1]), torch.tensor([2, 3])]
    # Among all classes, the images of step 0 are predicted 2 (right) and 0 (wrong), those of step 1 are predicted 1
    # (wrong) and 2 (wrong). Among the classes of their own step: 2 and 2 (both right), 1 (wrong) and 1 (right).
    first = judge(logits, labels, places, ((2,), (0, 1)), step=0, memory_size=5)
    assert first == StepResult(
        step=0, accuracies=(0.5, 0.0), seen=0.5, masked=1.0, masked_accuracies=(1.0, 0.5), memory_size=5
    )
    second = judge(logits, labels, places, ((2,), (0, 1)), step=1, memory_size=5)
    assert (second.seen, second.masked) == (0.25, 0.75)
    assert first.predicted is not None
    assert first.predicted.tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_network_that_diverged_is_judged_as_a_guess(value: float) -> None:
    logits = torch.zeros(5, 4)
    logits[3, 1] = value
    labels = torch.tensor([2, 0, 1, 1, 3])
    places = [torch.tensor([0]), torch.tensor([1, 2, 3]), torch.tensor([4])]
    found = judge(logits, labels, places, ((2,), (0, 1), (3,)), step=1, memory_size=5)
    assert found == StepResult(
        step=1,
        accuracies=(1 / 3, 1 / 3, 0.0),
        seen=1 / 3,
        masked=(1 * 1 + 3 * 0.5) / 4,
        masked_accuracies=(1.0, 0.5, 1.0),
        memory_size=5,
        diverged=True,
    )
    assert found.predicted is None
