"""What a class-incremental run leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from protocols import metrics
from satm.errors import ShapeError


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The network after one step, judged on every step's test images."""

    step: int  # counted from 0
    accuracies: tuple[float, ...]  # fraction on the test images of each step's classes, those not yet seen included
    seen: float  # fraction on all test images of the classes seen so far
    masked: float  # the same, each image judged among the classes of its own step alone (GDumb's task-masked accuracy)
    memory_size: int  # images kept


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalResult:
    """One class order and network. Raises ShapeError when the numbers do not belong to these steps."""

    steps: tuple[tuple[int, ...], ...]  # S groups of classes, in the order they arrived
    judged: tuple[StepResult, ...]  # every step's, or the last one's alone
    untrained: tuple[float, ...]  # [S] fraction on each step's test images before any training

    def __post_init__(self) -> None:
        count = len(self.steps)
        lengths = {len(self.untrained), *(len(result.accuracies) for result in self.judged)}
        found = [result.step for result in self.judged]
        if lengths != {count} or found not in ([*range(count)], [count - 1]):
            raise ShapeError(f"accuracies of {sorted(lengths)} steps, judged after {found}, for a stream of {count}")

    @property
    def matrix(self) -> tuple[tuple[float, ...], ...]:
        """The accuracy matrix, as in `protocols.metrics`; one row where only the last step was judged."""
        return tuple(result.accuracies for result in self.judged)

    @property
    def seen(self) -> tuple[float, ...]:
        """Accuracy on the classes seen so far, after every step that was judged."""
        return tuple(result.seen for result in self.judged)

    @property
    def order(self) -> tuple[int, ...]:
        """The classes in the order they arrived."""
        return tuple(label for group in self.steps for label in group)

    def scores(self) -> dict[str, float]:
        """The metrics of `protocols.metrics` by name, fractions; those of a whole stream only where it was judged."""
        scores = {"final_accuracy": metrics.final_accuracy(self.seen), "final_masked_accuracy": self.judged[-1].masked}
        if len(self.judged) < len(self.steps):
            return scores
        return scores | {
            "average_incremental_accuracy": metrics.average_incremental_accuracy(self.seen),
            "forgetting": metrics.forgetting(self.matrix),
            "backward_transfer": metrics.backward_transfer(self.matrix),
            "forward_transfer": metrics.forward_transfer(self.matrix, self.untrained),
        }


def judge(
    logits: torch.Tensor,
    labels: torch.Tensor,
    places: Sequence[torch.Tensor],
    groups: Sequence[Sequence[int]],
    *,
    step: int,
    memory_size: int,
) -> StepResult:
    """What a network that predicts `logits` [n, K] for test images of classes `labels` [n] is worth after `step`.

    `places` [S] are the positions of each step's test images, `groups` [S] its classes; both as Avalanche's stream
    has them. Nothing is masked but for `masked`.
    """
    right = [logits[at].argmax(1) == labels[at] for at in places]
    among = [
        torch.tensor(group)[logits[at][:, list(group)].argmax(1)] == labels[at]
        for at, group in zip(places, groups, strict=True)
    ]
    return StepResult(
        step=step,
        accuracies=tuple(float(each.double().mean()) for each in right),
        seen=float(torch.cat(right[: step + 1]).double().mean()),
        masked=float(torch.cat(among[: step + 1]).double().mean()),
        memory_size=memory_size,
    )
