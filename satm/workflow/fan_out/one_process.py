"""Runs tasks in this process, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from satm.workflow.fan_out.task import Outcome, Task, Work, attempt


@dataclass(frozen=True)
class OneProcess:
    """This process. It cannot outlive a task that kills it, so nothing is tried again: the same command continues."""

    @property
    def is_here(self) -> bool:
        """Every process is one of this machine."""
        return True

    def run(
        self, tasks: Sequence[Task], work: Work, *, retries: int, on_end: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """Run the tasks in their order. Raises Interrupted if the user asks to stop."""
        outcomes = []
        for task in tasks:
            outcome = Outcome(task=task, error=attempt(task, work))
            outcomes.append(outcome)
            on_end(outcome)
        return outcomes
