"""The result of a class-incremental run: accuracies after each step, and the scores of the whole stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from protocols import metrics
from satm.errors import ShapeError


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The accuracies of the network after one incremental step."""

    step: int  # counted from 0
    accuracies: tuple[float, ...]  # fraction on the test images of each step's classes, also of classes not yet seen
    seen: float  # fraction on all test images of the classes seen so far
    masked: float  # the same, if only the classes of an image's own step can win (GDumb's task-masked accuracy)
    masked_accuracies: tuple[float, ...]  # `accuracies` under that mask
    memory_size: int  # images kept, as they are stored
    diverged: bool = False  # whether the network's logits were not finite, so that it is counted as a guess
    predicted: torch.Tensor | None = field(default=None, compare=False, repr=False)
    """[n] int64, the class with the largest logit of each test image; None if it diverged, or if it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalResult:
    """The result of one class order and network. Raises ShapeError if the numbers do not fit the steps."""

    steps: tuple[tuple[int, ...], ...]  # S groups of classes, in the order they arrived
    judged: tuple[StepResult, ...]  # of every step, or only of the last one
    untrained: tuple[float, ...]  # [S] fraction on each step's test images before any training
    masked_untrained: tuple[float, ...]  # [S] the same, if only the classes of an image's own step can win
    fresh: bool = False  # whether every step trains a new network, which cannot forget

    def __post_init__(self) -> None:
        count = len(self.steps)
        rows = [row for result in self.judged for row in (result.accuracies, result.masked_accuracies)]
        lengths = {len(self.untrained), len(self.masked_untrained), *map(len, rows)}
        found = [result.step for result in self.judged]
        if lengths != {count} or found not in ([*range(count)], [count - 1]):
            raise ShapeError(f"accuracies of {sorted(lengths)} steps, judged after {found}, for a stream of {count}")

    @property
    def matrix(self) -> tuple[tuple[float, ...], ...]:
        """The accuracy matrix, as in `protocols.metrics`; one row if only the last step was judged."""
        return tuple(result.accuracies for result in self.judged)

    @property
    def masked_matrix(self) -> tuple[tuple[float, ...], ...]:
        """The accuracy matrix under the task mask."""
        return tuple(result.masked_accuracies for result in self.judged)

    @property
    def seen(self) -> tuple[float, ...]:
        """Accuracy on the classes seen so far, after every step that was judged."""
        return tuple(result.seen for result in self.judged)

    @property
    def order(self) -> tuple[int, ...]:
        """The classes in the order they arrived."""
        return tuple(label for group in self.steps for label in group)

    def scores(self) -> dict[str, float]:
        """The metrics of `protocols.metrics` by name, as fractions; only the final ones if only one step was judged.

        Fresh networks have `old_class_drop` in place of `forgetting` and `backward_transfer`. Forward transfer is that
        of the task-masked accuracies.
        """
        scores = {"final_accuracy": metrics.final_accuracy(self.seen), "final_masked_accuracy": self.judged[-1].masked}
        if len(self.judged) < len(self.steps):
            return scores
        masked = [result.masked for result in self.judged]
        scores |= {
            "average_incremental_accuracy": metrics.average_incremental_accuracy(self.seen),
            "average_masked_accuracy": metrics.average_incremental_accuracy(masked),
            "masked_forward_transfer": metrics.forward_transfer(self.masked_matrix, self.masked_untrained),
        }
        if self.fresh:
            return scores | {"old_class_drop": metrics.forgetting(self.matrix)}
        return scores | {
            "forgetting": metrics.forgetting(self.matrix),
            "backward_transfer": metrics.backward_transfer(self.matrix),
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
    """Compute the accuracies of the network after incremental step `step`, without and with the task mask.

    A network that diverged has logits that are not finite. It has the expected accuracies of a guess: with s classes
    seen, 1/s on each step that has arrived and 0 on the later ones; under the mask 1/c on a step of c classes.

    Args:
        logits: [n, K], predicted for the test images.
        labels: [n] int64, the classes of the test images.
        places: for each of the S steps, the positions [m] of its test images.
        groups: for each of the S steps, its classes.
    """
    if not bool(logits.isfinite().all()):
        return _guess(places, groups, step=step, memory_size=memory_size)
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
        masked_accuracies=tuple(float(each.double().mean()) for each in among),
        memory_size=memory_size,
        predicted=logits.argmax(1).cpu(),
    )


def _guess(
    places: Sequence[torch.Tensor], groups: Sequence[Sequence[int]], *, step: int, memory_size: int
) -> StepResult:
    """The result of a network that guesses among the classes seen, or, under the mask, among those of a step."""
    chance = 1 / sum(len(group) for group in groups[: step + 1])
    among = tuple(1 / len(group) for group in groups)
    sizes = [len(at) for at in places[: step + 1]]
    return StepResult(
        step=step,
        accuracies=tuple(chance if j <= step else 0.0 for j in range(len(groups))),
        seen=chance,
        masked=sum(size * each for size, each in zip(sizes, among, strict=False)) / sum(sizes),
        masked_accuracies=among,
        memory_size=memory_size,
        diverged=True,
    )
