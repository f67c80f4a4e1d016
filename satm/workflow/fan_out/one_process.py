"""Runs tasks in this process, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from satm.workflow.fan_out.task import Outcome, Task, Work, attempt


@dataclass(frozen=True)
class OneProcess:
    """The place that runs all tasks in this process.

    If a task kills the process, nothing is left that could start the task again. The user gives the same command again
    to continue.
    """

    @property
    def is_here(self) -> bool:
        """True: the tasks run on this machine."""
        return True

    def run(
        self, tasks: Sequence[Task], work: Work, *, retries: int, on_end: Callable[[Outcome], None]
    ) -> list[Outcome]:
        """Run the tasks in their order and return their outcomes. Raises Interrupted if the user asks to stop.

        `retries` is not used.
        """
        outcomes = []
        for task in tasks:
            outcome = Outcome(task=task, error=attempt(task, work))
            outcomes.append(outcome)
            on_end(outcome)
        return outcomes
