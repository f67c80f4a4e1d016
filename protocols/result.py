"""What a class-incremental run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

from protocols import metrics
from satm.errors import ShapeError


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One step: a network trained from scratch on the memory so far, judged on every step's test images."""

    step: int  # counted from 0
    accuracies: tuple[float, ...]  # fraction on the test images of each step's classes, those not yet seen included
    seen: float  # fraction on all test images of the classes seen so far
    memory_size: int  # images trained on


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalResult:
    """All steps of one class order. Raises ShapeError when the numbers do not belong to these steps."""

    steps: tuple[tuple[int, ...], ...]  # S groups of classes, in the order they arrived
    matrix: tuple[tuple[float, ...], ...]  # [S][S], as in `protocols.metrics`
    seen: tuple[float, ...]  # [S] fraction on all test images of the classes seen after each step
    memory_sizes: tuple[int, ...]  # [S] images trained on at each step
    learning_rate: float | None  # what the networks were trained with, where the caller says so

    def __post_init__(self) -> None:
        count = len(self.steps)
        lengths = {len(self.matrix), len(self.seen), len(self.memory_sizes), *map(len, self.matrix)}
        if lengths != {count}:
            raise ShapeError(f"accuracy matrix, accuracies and memory sizes of {sorted(lengths)} for {count} steps")

    @property
    def order(self) -> tuple[int, ...]:
        """The classes in the order they arrived."""
        return tuple(label for group in self.steps for label in group)

    def scores(self) -> dict[str, float]:
        """The metrics of `protocols.metrics` by name, fractions."""
        return {
            "average_incremental_accuracy": metrics.average_incremental_accuracy(self.seen),
            "final_accuracy": metrics.final_accuracy(self.seen),
            "forgetting": metrics.forgetting(self.matrix),
            "backward_transfer": metrics.backward_transfer(self.matrix),
        }
