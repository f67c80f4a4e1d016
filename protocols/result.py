"""The result of a class-incremental run: the accuracies after each step, and the scores of the whole stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from protocols import metrics
from satm.errors import ShapeError


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The accuracies of the network after one incremental step."""

    step: int  # the number of the incremental step, counted from 0
    # [S] for each of the S steps of the stream, the accuracy on its test images. Later steps, which the network has not
    # seen yet, are included. All accuracies are fractions.
    accuracies: tuple[float, ...]
    seen: float  # the accuracy on all test images of the steps so far
    # `seen` under the task mask. With this mask, only the classes of the step that an image belongs to can be predicted
    # for the image (GDumb's task-masked accuracy).
    masked: float
    masked_accuracies: tuple[float, ...]  # [S] `accuracies` under the task mask
    memory_size: int  # the number of stored images that the learner keeps after the step
    diverged: bool = False  # whether the network's logits were not finite; the accuracies are then those of a guess
    predicted: torch.Tensor | None = field(default=None, compare=False, repr=False)
    """[n] int64, the class with the largest logit of each test image.

    None if the network diverged, or if the predictions are not known.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalResult:
    """The result of one class order and one network. Raises ShapeError if the numbers do not fit the steps."""

    steps: tuple[tuple[int, ...], ...]  # the S groups of classes, in the order in which they arrived
    judged: tuple[StepResult, ...]  # the results after every step, or only the result after the last step
    untrained: tuple[float, ...]  # [S] the accuracy on each step's test images before any training, as a fraction
    masked_untrained: tuple[float, ...]  # [S] `untrained` under the task mask (see `StepResult.masked`)
    fresh: bool = False  # whether every step trains a new network; a new network cannot forget

    def __post_init__(self) -> None:
        count = len(self.steps)
        rows = [row for result in self.judged for row in (result.accuracies, result.masked_accuracies)]
        lengths = {len(self.untrained), len(self.masked_untrained), *map(len, rows)}
        found = [result.step for result in self.judged]
        if lengths != {count} or found not in ([*range(count)], [count - 1]):
            raise ShapeError(f"accuracies of {sorted(lengths)} steps, judged after {found}, for a stream of {count}")

    @property
    def matrix(self) -> tuple[tuple[float, ...], ...]:
        """The accuracy matrix [S][S] of `protocols.metrics`. It has only one row if only the last step was judged."""
        return tuple(result.accuracies for result in self.judged)

    @property
    def masked_matrix(self) -> tuple[tuple[float, ...], ...]:
        """The accuracy matrix under the task mask (see `StepResult.masked`)."""
        return tuple(result.masked_accuracies for result in self.judged)

    @property
    def seen(self) -> tuple[float, ...]:
        """The accuracy on the classes seen so far, after each judged step."""
        return tuple(result.seen for result in self.judged)

    @property
    def order(self) -> tuple[int, ...]:
        """The classes in the order in which they arrived first."""
        return tuple(dict.fromkeys(label for group in self.steps for label in group))

    def scores(self) -> dict[str, float]:
        """Return the metrics of `protocols.metrics` by name, as fractions.

        If only the last step was judged, only the two final accuracies are returned. If every step trains a fresh
        network, `old_class_drop` replaces `forgetting` and `backward_transfer`. Forward transfer is computed from the
        task-masked accuracies.
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

    If the logits are not finite, the network diverged and gets the expected accuracies of a guess. If s classes have
    been seen, this is 1/s on each step of seen classes and 0 on the steps of other classes. Under the task mask it is
    1/c on a step of c classes.

    Args:
        logits: [n, K], the network's logits for the test images.
        labels: [n] int64, the classes of the test images.
        places: for each of the S steps, the positions [m] of the test images of its classes.
        groups: for each of the S steps, its classes.
        step: the number of the step, counted from 0.
        memory_size: the number of stored images that the learner keeps. It is only copied into the result.
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
    """Return the expected result of a guess.

    Without the task mask, the guess is one of the classes seen so far. Under the mask, it is one of the classes of the
    step that the image belongs to.
    """
    seen = {label for group in groups[: step + 1] for label in group}
    chance = 1 / len(seen)
    among = tuple(1 / len(group) for group in groups)
    sizes = [len(at) for at in places[: step + 1]]
    return StepResult(
        step=step,
        accuracies=tuple(0.0 if seen.isdisjoint(group) else chance for group in groups),
        seen=chance,
        masked=sum(size * each for size, each in zip(sizes, among, strict=False)) / sum(sizes),
        masked_accuracies=among,
        memory_size=memory_size,
        diverged=True,
    )
